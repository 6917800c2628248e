//! See the library.

fn main() {
    tidings_bench::main();
}
