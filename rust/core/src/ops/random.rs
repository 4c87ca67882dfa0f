//! Random numbers: generators and what draws from them.
