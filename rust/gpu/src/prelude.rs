//! The prelude's functions, and the slice of them that a kernel uses: a shader holds no function that it does not
//! call, since compilers take their time over each.

use std::collections::HashMap;
use std::sync::OnceLock;

const SOURCES: [&str; 3] = [
    include_str!("../../../shaders/prelude.wgsl"),
    include_str!("../../../shaders/math.wgsl"),
    include_str!("../../../shaders/special.wgsl"),
];
const INT64: &str = include_str!("../../../shaders/int64.wgsl");
const INT64_NATIVE: &str = include_str!("../../../shaders/int64_native.wgsl");

/// Types that shaders may use because the adapter has them. For 64-bit integers there are functions over the
/// adapter's type beside those that do without; float16 is a matter of storage (`Element::Half`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Types {
    pub int64: bool,
    pub half: bool,
}

struct Item {
    text: String,
    uses: Vec<usize>,
}

struct Prelude {
    items: Vec<Item>,
    names: HashMap<String, usize>,
}

/// Names in a piece of WGSL that may be the prelude's.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|w| w.starts_with("rt_") || w.starts_with("RT_"))
}

/// The name an item declares.
fn declared(line: &str) -> Option<&str> {
    let rest = ["fn ", "const ", "alias ", "struct "].iter().find_map(|k| line.strip_prefix(k))?;
    names(rest).next()
}

fn parse(types: Types) -> Prelude {
    let mut items: Vec<Item> = Vec::new();
    let mut by_name = HashMap::new();
    let printed = crate::emit::printed_helpers();
    let int64 = if types.int64 { INT64_NATIVE } else { INT64 };
    for source in SOURCES.into_iter().chain([int64, printed.as_str()]) {
        for line in source.lines() {
            if let Some(name) = declared(line) {
                by_name.insert(name.to_string(), items.len());
                items.push(Item { text: String::new(), uses: Vec::new() });
            }
            let code = line.split("//").next().unwrap_or("").trim_end();
            if let Some(item) = items.last_mut()
                && !code.is_empty()
            {
                item.text += code;
                item.text.push('\n');
            }
        }
    }
    for i in 0..items.len() {
        let uses: Vec<usize> =
            names(&items[i].text).filter_map(|n| by_name.get(n).copied()).filter(|&u| u != i).collect();
        items[i].uses = uses;
    }
    Prelude { items, names: by_name }
}

fn prelude(types: Types) -> &'static Prelude {
    static PRELUDES: [OnceLock<Prelude>; 2] = [const { OnceLock::new() }; 2];
    PRELUDES[types.int64 as usize].get_or_init(|| parse(types))
}

/// The items that `body` needs, with what these need, in the order of the files.
pub(crate) fn used_by(body: &str, types: Types) -> String {
    let p = prelude(types);
    let mut wanted = vec![false; p.items.len()];
    let mut open: Vec<usize> = names(body).filter_map(|n| p.names.get(n).copied()).collect();
    while let Some(i) = open.pop() {
        if !wanted[i] {
            wanted[i] = true;
            open.extend(&p.items[i].uses);
        }
    }
    p.items.iter().zip(wanted).filter(|(_, w)| *w).map(|(i, _)| i.text.as_str()).collect()
}

/// All of it.
pub(crate) fn whole(types: Types) -> String {
    prelude(types).items.iter().map(|i| i.text.as_str()).collect()
}
