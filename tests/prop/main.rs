//! Properties over generated cases. `PROPTEST_CASES` says how many; the default is quick.

mod execute;
mod flow_text;
mod translate;
