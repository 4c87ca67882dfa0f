"""What `import torch` finds first in programs that run under rtorch: also in processes that they spawn, which get
`sys.path` from them. Its import puts rtorch in its own place."""

import rtorch

rtorch.install_as_torch()
