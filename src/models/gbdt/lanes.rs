//! A forest laid out for many rows at once.
//!
//! A row's path through a tree is not walked. Every split that sends the row right strikes the leaves on its left from a word of
//! bits, one bit a leaf from left to right; the first bit that remains is the leaf that the row reaches, in whatever order the
//! splits were asked. There is no branch that depends on data, so a compiler compares many rows in a few instructions
//! (Lucchese et al., "QuickScorer", SIGIR 2015; "Exploiting CPU SIMD Extensions to Speed-up Document Scoring with Tree Ensembles",
//! SIGIR 2016). The leaves and the order of the sums are those of the walk, so scores are equal to it bit for bit.

use super::trees::{Missing, Node, Tree, floor_f32};
use crate::wide::wide;
use std::ops::{BitAndAssign, BitOr, Not};

/// Rows that pass through a tree together, where there are so many.
const ROWS: usize = 16;
/// As many as that suffice for the few names of one question.
const FEW_ROWS: usize = 8;

/// A word with a bit for each leaf of a tree.
pub trait Leaves: Copy + BitOr<Output = Self> + BitAndAssign + Not<Output = Self> + Send + Sync {
    const ALL: Self;
    const COUNT: usize;
    /// All bits where `yes`, else none: without a branch.
    fn when(yes: bool) -> Self;
    /// The bits of leaves `from..to`.
    fn range(from: usize, to: usize) -> Self;
    /// The first leaf that remains.
    fn first(self) -> usize;
}

macro_rules! leaves {
    ($word:ty) => {
        impl Leaves for $word {
            const ALL: Self = !0;
            const COUNT: usize = Self::BITS as usize;
            #[inline(always)]
            fn when(yes: bool) -> Self {
                <$word>::from(yes).wrapping_neg()
            }
            fn range(from: usize, to: usize) -> Self {
                (from..to).fold(0, |bits, leaf| bits | 1 << leaf)
            }
            #[inline(always)]
            fn first(self) -> usize {
                self.trailing_zeros() as usize
            }
        }
    };
}
leaves!(u32);
leaves!(u64);

/// A split: a row whose value is above the threshold keeps only these leaves.
#[derive(Clone, Debug, PartialEq)]
struct Split<W> {
    feature: usize,
    threshold: f32,
    keep: W,
}

/// Splits that are asked without a look at whether there are more. Trees that grew to equal size are then equally long to the processor,
/// which foresees where they end; what is missing to a multiple is filled with splits that strike nothing.
const AT_ONCE: usize = 8;

/// A tree's splits, those that send NaN left before those that send it right, and where its leaves begin.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    nan_left: std::ops::Range<usize>,
    nan_right: std::ops::Range<usize>,
    leaves: usize,
}

/// The trees of a forest over words of one width.
#[derive(Clone, Debug, PartialEq)]
pub struct Lanes<W> {
    trees: Vec<Span>,
    splits: Vec<Split<W>>,
    /// As many a tree as a word has bits, from left to right; those past a tree's own are never reached.
    values: Vec<f64>,
}

/// A forest's layout: by how many leaves its largest tree has.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    Narrow(Lanes<u32>),
    Wide(Lanes<u64>),
}

impl Layout {
    /// `None` where a row must be walked: a tree of more than 64 leaves, a split by category or by no number, or one where zero is
    /// missing.
    pub fn of(trees: &[Tree]) -> Option<Self> {
        let plain = |n: &Node| matches!(n.missing, Missing::None | Missing::Nan) && !n.threshold.is_nan();
        if !trees.iter().flat_map(|t| &t.nodes).all(plain) {
            return None;
        }
        match trees.iter().map(|t| t.leaves.len()).max()? {
            0..=32 => Some(Self::Narrow(Lanes::of(trees))),
            33..=64 => Some(Self::Wide(Lanes::of(trees))),
            _ => None,
        }
    }

    /// The raw scores of row-major rows of `cols` features.
    pub fn raw(&self, rows: &[f32], cols: usize) -> Vec<f64> {
        match self {
            Self::Narrow(lanes) => raw(lanes, rows, cols),
            Self::Wide(lanes) => raw(lanes, rows, cols),
        }
    }
}

impl<W: Leaves> Lanes<W> {
    fn of(trees: &[Tree]) -> Self {
        let mut out = Self { trees: Vec::with_capacity(trees.len()), splits: Vec::new(), values: Vec::new() };
        for tree in trees {
            let mut order = Vec::with_capacity(tree.leaves.len());
            let mut struck = vec![(0, 0); tree.nodes.len()];
            from_left(tree, &mut order, &mut struck);
            let split =
                |(n, (from, to)): (&Node, &(usize, usize))| Split { feature: n.feature, threshold: floor_f32(n.threshold), keep: !W::range(*from, *to) };
            let (start, goes_right) = (out.splits.len(), |n: &Node| if n.missing == Missing::Nan { !n.default_left } else { n.threshold < 0.0 });
            let splits = || tree.nodes.iter().zip(&struck);
            out.splits.extend(splits().filter(|(n, _)| !goes_right(n)).map(split));
            let middle = out.splits.len();
            out.splits.extend(splits().filter(|(n, _)| goes_right(n)).map(split));
            out.trees.push(Span { nan_left: start..middle, nan_right: middle..out.splits.len(), leaves: out.values.len() });
            out.splits.resize(out.splits.len().next_multiple_of(AT_ONCE), Split { feature: 0, threshold: f32::INFINITY, keep: W::ALL });
            out.values.extend(order.iter().map(|leaf| tree.leaves[*leaf]));
            out.values.resize(out.trees.len() * W::COUNT, 0.0);
        }
        out
    }

    #[inline(always)]
    fn raw_by<const N: usize>(&self, rows: &[f32], cols: usize) -> Vec<f64> {
        let mut columns = vec![[0.0f32; N]; cols];
        let mut out = Vec::with_capacity(rows.len() / cols);
        for block in rows.chunks(N * cols) {
            side_by_side(block, &mut columns);
            let missing = block.iter().fold(false, |missing, v| missing | v.is_nan());
            let sums = if missing || N == FEW_ROWS { self.with_missing(&columns) } else { self.complete(&columns) };
            out.extend_from_slice(&sums[..block.len() / cols]);
        }
        out
    }

    /// The sums of many rows of which none lacks a value: all splits of a tree are asked the same.
    #[inline(always)]
    fn complete<const N: usize>(&self, columns: &[[f32; N]]) -> [f64; N] {
        let mut sums = [0.0; N];
        for tree in &self.trees {
            let mut left = [W::ALL; N];
            for splits in self.splits[tree.nan_left.start..tree.nan_right.end.next_multiple_of(AT_ONCE)].as_chunks::<AT_ONCE>().0 {
                for split in splits {
                    let column = &columns[split.feature];
                    for lane in 0..N {
                        left[lane] &= !W::when(column[lane] > split.threshold) | split.keep;
                    }
                }
            }
            // A check of each place keeps them apart: the processor's own way to fetch many at once takes longer than one after another.
            let values = &self.values[tree.leaves..];
            for lane in 0..N {
                sums[lane] += values[left[lane].first()];
            }
        }
        sums
    }

    /// The sums of rows that may lack values, or of few.
    #[inline(always)]
    fn with_missing<const N: usize>(&self, columns: &[[f32; N]]) -> [f64; N] {
        let mut sums = [0.0; N];
        for tree in &self.trees {
            let mut left = [W::ALL; N];
            for split in &self.splits[tree.nan_left.clone()] {
                let column = &columns[split.feature];
                for lane in 0..N {
                    left[lane] &= !W::when(column[lane] > split.threshold) | split.keep;
                }
            }
            for split in &self.splits[tree.nan_right.clone()] {
                let column = &columns[split.feature];
                for lane in 0..N {
                    left[lane] &= W::when(column[lane] <= split.threshold) | split.keep;
                }
            }
            let values = &self.values[tree.leaves..tree.leaves + W::COUNT];
            for lane in 0..N {
                sums[lane] += values[left[lane].first() % W::COUNT];
            }
        }
        sums
    }
}

wide! {
    fn raw<W: Leaves>(lanes: &Lanes<W>, rows: &[f32], cols: usize) -> Vec<f64> {
        if rows.len() <= FEW_ROWS * cols { lanes.raw_by::<FEW_ROWS>(rows, cols) } else { lanes.raw_by::<ROWS>(rows, cols) }
    }
}

/// Each row becomes a lane. Kept out of the wide code: a processor's own way to scatter values takes longer than one after another.
#[inline(never)]
fn side_by_side<const N: usize>(rows: &[f32], columns: &mut [[f32; N]]) {
    for (lane, row) in rows.chunks_exact(columns.len()).enumerate() {
        for (column, value) in columns.iter_mut().zip(row) {
            column[lane] = *value;
        }
    }
}

/// The leaves of a tree from left to right, and for each split the places of those on its left.
fn from_left(tree: &Tree, order: &mut Vec<usize>, struck: &mut [(usize, usize)]) {
    enum Visit {
        Child(i32),
        LeftIsDone(usize, usize),
    }
    let mut open = vec![Visit::Child(if tree.nodes.is_empty() { !0 } else { 0 })];
    while let Some(visit) = open.pop() {
        match visit {
            Visit::Child(leaf) if leaf < 0 => order.push(!leaf as usize),
            Visit::Child(at) => {
                let at = at as usize;
                open.push(Visit::Child(tree.nodes[at].right));
                open.push(Visit::LeftIsDone(at, order.len()));
                open.push(Visit::Child(tree.nodes[at].left));
            }
            Visit::LeftIsDone(at, from) => struck[at] = (from, order.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A tree that grew leaf by leaf: which leaf is split, by what, and where NaN goes.
    type Growth = Vec<(prop::sample::Index, usize, f64, bool, bool)>;

    fn tree(growth: &Growth) -> Tree {
        let mut nodes: Vec<Node> = Vec::new();
        let mut hangs: Vec<Option<(usize, bool)>> = vec![None];
        for (leaf, feature, threshold, default_left, nan) in growth {
            let (leaf, at, new) = (leaf.index(hangs.len()), nodes.len(), hangs.len());
            match hangs[leaf] {
                Some((parent, true)) => nodes[parent].left = at as i32,
                Some((parent, false)) => nodes[parent].right = at as i32,
                None => {}
            }
            let missing = if *nan { Missing::Nan } else { Missing::None };
            let (left, right) = (!(leaf as i32), !(new as i32));
            nodes.push(Node { feature: *feature, threshold: *threshold, default_left: *default_left, missing, left, right, gain: 1.0 });
            hangs[leaf] = Some((at, true));
            hangs.push(Some((at, false)));
        }
        let leaves = (0..hangs.len()).map(|l| 0.1 + l as f64 / 7.0).collect();
        Tree { nodes, leaves, categories: Vec::new() }
    }

    const NUMBERS: [f64; 9] = [0.0, -0.0, 1.0, -1.0, 0.1, -0.1, 1e-35, 1e300, f64::INFINITY];

    proptest! {
        #[test]
        fn every_row_reaches_the_leaf_that_it_walks_to(
            grown in vec(vec((any::<prop::sample::Index>(), 0usize..3, prop::sample::select(&NUMBERS[..]), any::<bool>(), any::<bool>()), 0..63), 1..4),
            rows in vec(prop_oneof![4 => prop::sample::select(&NUMBERS[..]).prop_map(|v| v as f32), 2 => -1.5f32..1.5, 1 => Just(f32::NAN)], 0..150),
        ) {
            let trees: Vec<Tree> = grown.iter().map(tree).collect();
            let walked: Vec<u64> = rows.chunks_exact(3).map(|row| trees.iter().fold(0.0, |sum: f64, t| sum + t.leaves[t.leaf(row)]).to_bits()).collect();
            let layout = Layout::of(&trees).unwrap();
            let got: Vec<u64> = layout.raw(&rows[..walked.len() * 3], 3).into_iter().map(f64::to_bits).collect();
            prop_assert_eq!(got, walked);
        }
    }

    #[test]
    fn what_has_no_such_layout_is_walked() {
        let split = |missing, threshold| Node { feature: 0, threshold, default_left: true, missing, left: !0, right: !1, gain: 1.0 };
        let of = |nodes: Vec<Node>, leaves: usize| Layout::of(&[Tree { nodes, leaves: vec![1.0; leaves], categories: Vec::new() }]);
        assert!(matches!(of(vec![split(Missing::Nan, 0.5)], 2), Some(Layout::Narrow(_))));
        assert!(of(vec![split(Missing::Zero, 0.5)], 2).is_none() && of(vec![split(Missing::Category, 0.0)], 2).is_none());
        assert!(of(vec![split(Missing::None, f64::NAN)], 2).is_none() && of(Vec::new(), 65).is_none() && Layout::of(&[]).is_none());
        assert!(matches!(of(Vec::new(), 33), Some(Layout::Wide(_))));
    }
}
