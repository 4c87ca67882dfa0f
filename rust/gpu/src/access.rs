//! Index arithmetic of an operand inside a kernel. The dims of the iteration come in groups (all of them; kept and
//! reduced; batch, row and column ...), each counted by one u32; merged dims and strides are data, only their number is
//! part of the kernel's key.

use std::fmt::Write;

use rtorch_ir::Layout;
use smallvec::SmallVec;

/// A group's class where it is one dimension of stride 1.
const UNIT: usize = 15;

#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Element 0, in elements from the start of the binding.
    pub offset: u32,
    /// Per group the (size, stride) of merged dims, outermost first.
    pub groups: SmallVec<[SmallVec<[(u32, u32); 4]>; 3]>,
    /// Number of the first parameter word; set by `fill`.
    pub word: usize,
}

/// What a kernel is found by, and the words it reads.
#[derive(Default)]
pub(crate) struct Build {
    pub key: SmallVec<[u32; 48]>,
    pub params: SmallVec<[u32; 64]>,
}

/// Parameter word `i` as an expression.
pub(crate) fn word(i: usize) -> String {
    format!("P.w[{}].{}", i / 4, ["x", "y", "z", "w"][i % 4])
}

impl Access {
    /// `layout` over the dims that the groups list; `offset` is its element 0 within the binding.
    pub fn new(layout: &Layout, offset: u32, groups: &[&[usize]]) -> Access {
        let merge = |dims: &&[usize]| {
            let mut out: SmallVec<[(u32, isize); 4]> = SmallVec::new();
            for &d in *dims {
                let (size, stride) = (layout.shape[d] as u32, layout.strides[d]);
                if size == 1 {
                    continue;
                }
                match out.last_mut() {
                    Some(last) if last.1 == stride * size as isize => *last = (last.0 * size, stride),
                    _ => out.push((size, stride)),
                }
            }
            if out.iter().all(|d| d.1 == 0) {
                out.clear();
            }
            out.into_iter().map(|(n, s)| (n, s as i32 as u32)).collect()
        };
        Access { offset, groups: groups.iter().map(merge).collect(), word: 0 }
    }

    fn class(group: &[(u32, u32)]) -> usize {
        if let [(_, 1)] = group { UNIT } else { group.len() }
    }

    /// Adds the classes to the key and the words to the parameters.
    pub fn fill(&mut self, b: &mut Build) {
        self.word = b.params.len();
        b.params.push(self.offset);
        let mut code = 0;
        for g in &self.groups {
            let class = Access::class(g);
            code = code << 4 | class as u32;
            if class == UNIT {
                continue;
            }
            for (j, &(size, stride)) in g.iter().enumerate() {
                if j > 0 {
                    b.params.push(size);
                }
                b.params.push(stride);
            }
        }
        b.key.push(code);
    }

    /// Statements that compute the element's place as `name`, from one u32 expression per group.
    pub fn print(&self, name: &str, counters: &[&str]) -> String {
        let mut s = String::new();
        let mut sum = word(self.word);
        let mut w = self.word + 1;
        for (g, counter) in self.groups.iter().zip(counters) {
            let counter = format!("({counter})");
            match Access::class(g) {
                0 => {}
                UNIT => {
                    let _ = write!(sum, " + {counter}");
                }
                1 => {
                    let _ = write!(sum, " + {counter} * {}", word(w));
                    w += 1;
                }
                n => {
                    // words: stride of the outermost, then (size, stride) of each inner dim
                    let tag = w;
                    let mut rest = counter;
                    for j in (1..n).rev() {
                        let (size, stride) = (word(w + 2 * j - 1), word(w + 2 * j));
                        let next = format!("{name}_{tag}_{j}");
                        let _ = writeln!(s, "let {next} = {rest} / {size};");
                        let _ = write!(sum, " + ({rest} - {next} * {size}) * {stride}");
                        rest = next;
                    }
                    let _ = write!(sum, " + {rest} * {}", word(w));
                    w += 2 * n - 1;
                }
            }
        }
        let _ = writeln!(s, "let {name} = {sum};");
        s
    }
}
