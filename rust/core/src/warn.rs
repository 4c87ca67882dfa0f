//! Warnings: handed to whoever installed a hook (the Python binding raises `UserWarning`s), else to stderr.

use std::collections::HashSet;
use std::sync::OnceLock;

use parking_lot::Mutex;

static HOOK: OnceLock<fn(&str)> = OnceLock::new();

pub fn set_hook(f: fn(&str)) {
    let _ = HOOK.set(f);
}

pub fn warn(text: &str) {
    match HOOK.get() {
        Some(f) => f(text),
        None => eprintln!("rtorch: {text}"),
    }
}

/// Once per text.
pub fn once(text: &str) {
    static SEEN: OnceLock<Mutex<HashSet<String>>> = OnceLock::new();
    if SEEN.get_or_init(Default::default).lock().insert(text.to_string()) {
        warn(text);
    }
}

pub fn fallback(primitive: &str) {
    once(&format!(
        "{primitive} has no GPU kernel yet: it runs on the host, with a copy there and back. Such calls are counted in \
         runtime_stats()[\"host_fallbacks\"]; RTORCH_FALLBACK=error makes them an error."
    ));
}
