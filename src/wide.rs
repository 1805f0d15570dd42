//! Kernels in the widest instructions of the processor that they run on.
//!
//! A program that is built for every machine of a kind uses none of the wide instructions that most of them have. What is declared
//! inside [`wide!`] is compiled for several widths, and the widest that the processor knows is taken when it is called. Neighbours of
//! an array are computed side by side, each in its own order and without fused operations, so that a result is the same bit for bit
//! whatever the width.

/// Compile a function for several widths. What it calls must be `#[inline(always)]`: anything else is compiled for the narrowest
/// width alone. A choice of two sums is written as a sum of choices (`n += f64::from(yes)`), which needs no branch.
macro_rules! wide {
    ($($function:tt)*) => {
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma+bmi1+bmi2+lzcnt+popcnt+movbe+f16c",
            "x86_64+avx2+fma+bmi1+bmi2+lzcnt+popcnt+movbe+f16c",
        ))]
        $($function)*
    };
}
pub(crate) use wide;
