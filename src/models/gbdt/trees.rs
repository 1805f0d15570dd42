//! A flattened evaluator of LightGBM's text models: what serves a model, without LightGBM.
//!
//! Supported: numerical splits with the missing types none, zero and NaN, and the default direction; categorical splits.
//! Refused: linear leaves, several outputs per round. Scores are summed in tree order, which makes them equal to
//! LightGBM's bit for bit.

use super::lanes::Layout;
use data_layer::error::{Error, Result, code};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// What a missing value is to a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// NaN counts as zero.
    None,
    /// Zero and NaN take the default direction.
    Zero,
    /// NaN takes the default direction.
    Nan,
    /// The split is categorical: the value is a category, and `threshold` the number of the set of categories that go left.
    Category,
}

/// One split. A child that is not negative is a node of the same tree; `!child` is a leaf.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    pub feature: usize,
    /// Left when the value is at most this.
    pub threshold: f64,
    pub default_left: bool,
    pub missing: Missing,
    pub left: i32,
    pub right: i32,
    /// How much the split lowered the training loss.
    pub gain: f32,
}

/// LightGBM treats values within this distance of zero as zero where zero means missing.
const ZERO: f64 = 1e-35_f32 as f64;

/// The largest float32 that is not above `t`.
pub(crate) fn floor_f32(t: f64) -> f32 {
    let near = t as f32;
    if f64::from(near) > t { near.next_down() } else { near }
}

impl Node {
    /// LightGBM's `Tree::NumericalDecision`.
    fn goes_left(&self, mut value: f64) -> bool {
        if value.is_nan() && self.missing != Missing::Nan {
            value = 0.0;
        }
        let missing = match self.missing {
            Missing::Nan => value.is_nan(),
            Missing::Zero => value > -ZERO && value <= ZERO,
            Missing::None | Missing::Category => false,
        };
        if missing { self.default_left } else { value <= self.threshold }
    }
}

/// One tree. Without nodes, its first leaf is its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    pub nodes: Vec<Node>,
    pub leaves: Vec<f64>,
    /// Bit sets of categories, named by categorical splits.
    pub categories: Vec<Vec<u32>>,
}

impl Tree {
    /// The number of the leaf that a row reaches.
    pub fn leaf<T: Copy + Into<f64>>(&self, row: &[T]) -> usize {
        if self.nodes.is_empty() {
            return 0;
        }
        let mut at = 0i32;
        while at >= 0 {
            let node = &self.nodes[at as usize];
            let value = row[node.feature].into();
            let left = if node.missing == Missing::Category { self.category_goes_left(node, value) } else { node.goes_left(value) };
            at = if left { node.left } else { node.right };
        }
        !at as usize
    }

    /// LightGBM's `Tree::CategoricalDecision`: missing, negative and unknown categories go right.
    fn category_goes_left(&self, node: &Node, value: f64) -> bool {
        if value.is_nan() || value <= -1.0 || value >= f64::from(i32::MAX) {
            return false;
        }
        let category = value as usize;
        let set = &self.categories[node.threshold as usize];
        set.get(category / 32).is_some_and(|word| word >> (category % 32) & 1 == 1)
    }

    fn value<T: Copy + Into<f64>>(&self, row: &[T]) -> f64 {
        self.leaves[self.leaf(row)]
    }
}

/// What each feature's splits gained in all, and how many there are, in the order of the features.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    pub gains: Vec<f64>,
    pub splits: Vec<u64>,
}

/// How a raw score becomes a prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Output {
    Raw,
    Sigmoid(f64),
}

/// A parsed model.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    features: Vec<String>,
    trees: Vec<Tree>,
    output: Output,
    layout: Option<Layout>,
}

impl Forest {
    /// Parse `model.txt`. Anything this evaluator would get wrong is refused.
    pub fn parse(text: &str) -> Result<Self> {
        let mut blocks = text.split("\n\nTree=");
        let header = pairs(blocks.next().unwrap_or_default());
        if header.get("num_tree_per_iteration").copied() != Some("1") {
            return Err(refused("it has several outputs per round"));
        }
        let features: Vec<String> = field(&header, "feature_names")?.split(' ').map(str::to_string).collect();
        let objective = field(&header, "objective")?;
        let output = match objective.split(' ').next() {
            Some("regression" | "lambdarank") => Output::Raw,
            Some("binary") => Output::Sigmoid(objective.split("sigmoid:").nth(1).and_then(|s| s.trim().parse().ok()).unwrap_or(1.0)),
            _ => return Err(refused(&text!("its objective '{objective}' is unknown here"))),
        };
        let trees = blocks.map(|block| parse_tree(block, features.len())).collect::<Result<Vec<_>>>()?;
        let announced = header.get("tree_sizes").map_or(0, |s| s.split(' ').filter(|p| !p.is_empty()).count());
        if trees.len() != announced {
            return Err(refused(&text!("it announces {announced} trees and holds {}", trees.len())));
        }
        let layout = Layout::of(&trees);
        Ok(Self { features, trees, output, layout })
    }

    /// The number of trees.
    pub fn len(&self) -> usize {
        self.trees.len()
    }
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }
    /// Names of the features, in the order in which a row holds them.
    pub fn features(&self) -> &[String] {
        &self.features
    }
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }
    /// As LightGBM counts it for a loaded model: splits that gained nothing are left out.
    pub fn importance(&self) -> Importance {
        let mut out = Importance { gains: vec![0.0; self.features.len()], splits: vec![0; self.features.len()] };
        for node in self.trees.iter().flat_map(|t| &t.nodes).filter(|n| n.gain > 0.0) {
            out.gains[node.feature] += f64::from(node.gain);
            out.splits[node.feature] += 1;
        }
        out
    }

    /// Whether a prediction is a probability, the logistic function of the raw score.
    pub fn is_logistic(&self) -> bool {
        self.output == Output::Sigmoid(1.0)
    }

    /// The raw score of a row with one value per feature (`NaN` = missing).
    pub fn raw<T: Copy + Into<f64>>(&self, row: &[T]) -> f64 {
        debug_assert_eq!(row.len(), self.features.len());
        self.trees.iter().fold(0.0, |sum, tree| sum + tree.value(row))
    }

    /// The prediction: the raw score of a regression, a probability of a binary model.
    pub fn predict<T: Copy + Into<f64>>(&self, row: &[T]) -> f64 {
        match self.output {
            Output::Raw => self.raw(row),
            Output::Sigmoid(s) => 1.0 / (1.0 + (-s * self.raw(row)).exp()),
        }
    }

    /// Predictions of many rows (row-major), those of [`Forest::predict`] bit for bit.
    pub fn predict_rows(&self, rows: &[f32]) -> Vec<f64> {
        let cols = self.features.len().max(1);
        let block = |rows: &[f32]| match &self.layout {
            Some(layout) => layout.raw(rows, cols),
            None => rows.chunks_exact(cols).map(|row| self.raw(row)).collect(),
        };
        let raw = if rows.len() <= ROWS_AT_ONCE * cols { block(rows) } else { rows.par_chunks(ROWS_AT_ONCE * cols).flat_map_iter(block).collect() };
        match self.output {
            Output::Raw => raw,
            Output::Sigmoid(s) => raw.into_iter().map(|v| 1.0 / (1.0 + (-s * v).exp())).collect(),
        }
    }
}

/// Rows that are worth a processor of their own.
const ROWS_AT_ONCE: usize = 128;

fn refused(why: &str) -> Error {
    Error::new(code::ML_ARTIFACT, "model.txt cannot be served").cause(why)
}

fn pairs(block: &str) -> BTreeMap<&str, &str> {
    block.lines().filter_map(|l| l.split_once('=')).collect()
}

fn field<'a>(map: &BTreeMap<&str, &'a str>, name: &str) -> Result<&'a str> {
    map.get(name).copied().ok_or_else(|| refused(&text!("it has no '{name}'")))
}

fn list<T: std::str::FromStr>(map: &BTreeMap<&str, &str>, name: &str) -> Result<Vec<T>> {
    let text = map.get(name).copied().unwrap_or_default();
    text.split_ascii_whitespace().map(|t| t.parse().map_err(|_| refused(&text!("'{t}' in '{name}' is not a number")))).collect()
}

fn parse_tree(block: &str, n_features: usize) -> Result<Tree> {
    let map = pairs(block.split("\nend of trees").next().unwrap_or(block));
    let categories = category_sets(&map)?;
    if map.get("is_linear").is_some_and(|v| *v != "0") {
        return Err(refused("it has linear leaves"));
    }
    let leaves: Vec<f64> = list(&map, "leaf_value")?;
    let (features, thresholds): (Vec<usize>, Vec<f64>) = (list(&map, "split_feature")?, list(&map, "threshold")?);
    let (kinds, left, right): (Vec<u8>, Vec<i32>, Vec<i32>) = (list(&map, "decision_type")?, list(&map, "left_child")?, list(&map, "right_child")?);
    let gains: Vec<f32> = list(&map, "split_gain")?;
    let n = features.len();
    if leaves.len() != n + 1 || [thresholds.len(), kinds.len(), left.len(), right.len(), gains.len()] != [n; 5] {
        return Err(refused("a tree's columns differ in length"));
    }
    let mut nodes = Vec::with_capacity(n);
    for i in 0..n {
        let missing = match (kinds[i] >> 2) & 3 {
            _ if kinds[i] & 1 == 1 => Missing::Category,
            0 => Missing::None,
            1 => Missing::Zero,
            2 => Missing::Nan,
            _ => return Err(refused("a split has an unknown missing type")),
        };
        // Children come after their parent in LightGBM's numbering, which also rules out a cycle.
        let sound = |child: i32| if child < 0 { (!child as usize) <= n } else { child as usize > i && (child as usize) < n };
        let known = missing != Missing::Category || (thresholds[i] >= 0.0 && (thresholds[i] as usize) < categories.len());
        if !known || features[i] >= n_features || !sound(left[i]) || !sound(right[i]) {
            return Err(refused("a split points outside its tree"));
        }
        nodes.push(Node {
            feature: features[i],
            threshold: thresholds[i],
            default_left: kinds[i] & 2 != 0,
            missing,
            left: left[i],
            right: right[i],
            gain: gains[i],
        });
    }
    Ok(Tree { nodes, leaves, categories })
}

/// The bit sets of a tree's categorical splits: `cat_threshold` cut at `cat_boundaries`.
fn category_sets(map: &BTreeMap<&str, &str>) -> Result<Vec<Vec<u32>>> {
    let n: usize = field(map, "num_cat")?.trim().parse().map_err(|_| refused("'num_cat' is not a number"))?;
    if n == 0 {
        return Ok(Vec::new());
    }
    let (bounds, words): (Vec<usize>, Vec<u32>) = (list(map, "cat_boundaries")?, list(map, "cat_threshold")?);
    if bounds.len() != n + 1 || bounds.windows(2).any(|b| b[0] > b[1]) || bounds[n] != words.len() {
        return Err(refused("its sets of categories do not fit together"));
    }
    Ok(bounds.windows(2).map(|b| words[b[0]..b[1]].to_vec()).collect())
}
