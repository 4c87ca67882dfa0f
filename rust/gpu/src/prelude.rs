//! The prelude's functions, and the slice of them that a kernel uses: a shader holds no function that it does not
//! call, since compilers take their time over each.

use std::collections::HashMap;
use std::sync::OnceLock;

const SOURCES: [&str; 4] = [
    include_str!("../../../shaders/prelude.wgsl"),
    include_str!("../../../shaders/math.wgsl"),
    include_str!("../../../shaders/special.wgsl"),
    include_str!("../../../shaders/int64.wgsl"),
];

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

fn parse() -> Prelude {
    let mut items: Vec<Item> = Vec::new();
    let mut by_name = HashMap::new();
    let printed = crate::emit::printed_helpers();
    for source in SOURCES.into_iter().chain([printed.as_str()]) {
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

fn prelude() -> &'static Prelude {
    static PRELUDE: OnceLock<Prelude> = OnceLock::new();
    PRELUDE.get_or_init(parse)
}

/// The items that `body` needs, with what these need, in the order of the files.
pub(crate) fn used_by(body: &str) -> String {
    let p = prelude();
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
pub(crate) fn whole() -> String {
    prelude().items.iter().map(|i| i.text.as_str()).collect()
}
