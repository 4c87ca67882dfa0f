//! What kernels report: alone in its process, since the first to synchronise hears of it.

mod common;

use common::{T, gpu, run};
use rtorch_ir::{ErrorKind, Prim};

#[test]
fn a_bad_index_raises_at_the_next_synchronisation() {
    let Some(dev) = gpu() else { return };
    let x = T::floats(&dev, &[1.0, 2.0, 3.0], &[3]);
    let index = T::ints(&dev, &[0, 7], &[2]);
    let y = run(&dev, &Prim::IndexSelect { axis: 0 }, &[&x, &index]);
    let e = dev.download(&y[0].buffer, 0, &mut [0; 8]).err().unwrap();
    assert_eq!(e.kind, ErrorKind::Index);
    assert!(e.message.contains("index 7 is out of bounds") && e.message.contains("size 3"), "{e}");
    dev.synchronize().unwrap();
    assert_eq!(y[0].f32s(), [1.0, 1.0]);
}
