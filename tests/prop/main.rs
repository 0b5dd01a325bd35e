//! Properties over generated cases. `PROPTEST_CASES` says how many; the default is quick.

mod caches;
mod connections;
mod conservation;
mod execute;
mod flow_text;
mod flow_values;
mod switch;
mod translate;
