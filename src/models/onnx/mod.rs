//! ONNX as an interchange form: a `TreeEnsembleRegressor` written from the parsed model, read back and checked.
//!
//! A split compares float32 in ONNX. Because features are float32 everywhere, writing the largest float32 that is not
//! above LightGBM's threshold keeps every branch: `x <= t` and `x <= floor32(t)` agree for each float32 `x`. What remains
//! is the rounding of leaf values, which the parity report bounds (bar: 1e-5).

mod proto;

use crate::models::gbdt::trees::{Forest, Missing, floor_f32};
use crate::models::rank;
use data_layer::error::{Error, Result, code};
use prost::Message;
use proto::{Attribute, Graph, Model, Node, OperatorSet, StringEntry, ValueInfo};
use serde::{Deserialize, Serialize};

/// Largest absolute difference between the two forms that is accepted.
pub const PARITY_BAR: f64 = 1e-5;

/// How the written ONNX file compares with the model it was made from, on a batch of float32 rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parity {
    pub rows: usize,
    pub max_abs_diff: f64,
    /// Spearman correlation of the two predictions; null when either is constant.
    pub rank_correlation: Option<f64>,
    /// Rows of the batch that would take another branch somewhere.
    pub flipped_rows: usize,
    /// Thresholds that are not float32 numbers and were rounded down.
    pub rounded_thresholds: usize,
    pub bar: f64,
    pub passed: bool,
}

/// The columns of a `TreeEnsembleRegressor`, one entry per node, as the operator wants them.
#[derive(Default)]
struct Columns {
    tree: Vec<i64>,
    node: Vec<i64>,
    feature: Vec<i64>,
    value: Vec<f32>,
    mode: Vec<Vec<u8>>,
    when_true: Vec<i64>,
    when_false: Vec<i64>,
    missing_true: Vec<i64>,
    target_tree: Vec<i64>,
    target_node: Vec<i64>,
    target_weight: Vec<f32>,
}

impl Columns {
    fn push(&mut self, tree: usize, node: usize, split: Option<(usize, f32, usize, usize, bool)>) {
        let (feature, value, yes, no, missing) = split.unwrap_or((0, 0.0, 0, 0, false));
        self.tree.push(tree as i64);
        self.node.push(node as i64);
        self.feature.push(feature as i64);
        self.value.push(value);
        self.mode.push(if split.is_some() { b"BRANCH_LEQ".to_vec() } else { b"LEAF".to_vec() });
        self.when_true.push(yes as i64);
        self.when_false.push(no as i64);
        self.missing_true.push(i64::from(missing));
    }
}

/// Lay a forest out: inner nodes keep their numbers, leaf `k` of a tree with `n` splits is node `n + k`.
fn columns(forest: &Forest) -> Result<Columns> {
    let mut out = Columns::default();
    for (t, tree) in forest.trees().iter().enumerate() {
        let n = tree.nodes.len();
        let place = |child: i32| if child < 0 { n + !child as usize } else { child as usize };
        for (i, node) in tree.nodes.iter().enumerate() {
            let missing = match node.missing {
                Missing::Nan => node.default_left,
                Missing::None => 0.0 <= node.threshold,
                Missing::Zero | Missing::Category => {
                    let why = if node.missing == Missing::Zero { "a split treats zero as missing" } else { "a split is categorical" };
                    return Err(Error::new(code::ML_ARTIFACT, "the model cannot be written as ONNX").cause(why));
                }
            };
            out.push(t, i, Some((node.feature, floor_f32(node.threshold), place(node.left), place(node.right), missing)));
        }
        for (k, leaf) in tree.leaves.iter().enumerate() {
            out.push(t, n + k, None);
            out.target_tree.push(t as i64);
            out.target_node.push((n + k) as i64);
            out.target_weight.push(*leaf as f32);
        }
    }
    Ok(out)
}

/// The bytes of `model.onnx`: input `features` (float32, rows x features), output `variable` (float32, rows x 1).
pub fn encode(forest: &Forest, name: &str) -> Result<Vec<u8>> {
    let c = columns(forest)?;
    let targets = vec![0i64; c.target_tree.len()];
    let attributes = vec![
        Attribute::int("n_targets", 1),
        Attribute::ints("nodes_falsenodeids", c.when_false),
        Attribute::ints("nodes_featureids", c.feature),
        Attribute::ints("nodes_missing_value_tracks_true", c.missing_true),
        Attribute::strings("nodes_modes", c.mode),
        Attribute::ints("nodes_nodeids", c.node),
        Attribute::ints("nodes_treeids", c.tree),
        Attribute::ints("nodes_truenodeids", c.when_true),
        Attribute::floats("nodes_values", c.value),
        Attribute::string("post_transform", "NONE"),
        Attribute::ints("target_ids", targets),
        Attribute::ints("target_nodeids", c.target_node),
        Attribute::ints("target_treeids", c.target_tree),
        Attribute::floats("target_weights", c.target_weight),
    ];
    let logistic = forest.is_logistic();
    let trees = Node {
        input: vec!["features".into()],
        output: vec![if logistic { "raw" } else { "variable" }.into()],
        name: Some("trees".into()),
        op_type: Some("TreeEnsembleRegressor".into()),
        attribute: attributes,
        domain: Some("ai.onnx.ml".into()),
    };
    let squash = Node {
        input: vec!["raw".into()],
        output: vec!["variable".into()],
        name: Some("probability".into()),
        op_type: Some("Sigmoid".into()),
        attribute: Vec::new(),
        domain: None,
    };
    let graph = Graph {
        node: if logistic { vec![trees, squash] } else { vec![trees] },
        name: Some(name.into()),
        input: vec![ValueInfo::float_matrix("features", forest.features().len() as i64)],
        output: vec![ValueInfo::float_matrix("variable", 1)],
    };
    let model = Model {
        ir_version: Some(8),
        producer_name: Some("trademl".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: Some("ai.onnx.ml".into()), version: Some(1) }, OperatorSet { domain: Some(String::new()), version: Some(13) }],
        metadata_props: vec![StringEntry { key: Some("features".into()), value: Some(forest.features().join(" ")) }],
    };
    Ok(model.encode_to_vec())
}

struct OnnxNode {
    feature: usize,
    threshold: f32,
    yes: usize,
    no: usize,
    missing_true: bool,
    leaf: bool,
}

/// A tree ensemble read back from bytes, evaluated in float32 as the ONNX operators are specified: a regressor, or a
/// classifier of two classes whose prediction is the probability of the second.
pub struct Ensemble {
    nodes: Vec<OnnxNode>,
    /// Root of each tree, in order.
    roots: Vec<usize>,
    /// Leaf value per node.
    weights: Vec<f32>,
    /// Added to the sum of the leaves.
    base: f32,
    /// Whether the sum becomes a probability.
    logistic: bool,
    n_features: usize,
}

fn unreadable(why: &str) -> Error {
    Error::new(code::ML_ARTIFACT, "model.onnx cannot be read").cause(why)
}

impl Ensemble {
    /// Read ONNX bytes. Anything but one sum-aggregating ensemble of `<=` splits with one output is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let model = Model::decode(bytes).map_err(|e| unreadable(&e.to_string()))?;
        let graph = model.graph.ok_or_else(|| unreadable("it has no graph"))?;
        let is = |n: &&Node, kind: &str| n.op_type.as_deref() == Some(kind);
        let regressor = graph.node.iter().find(|n| is(n, "TreeEnsembleRegressor"));
        let node = regressor.or_else(|| graph.node.iter().find(|n| is(n, "TreeEnsembleClassifier"))).ok_or_else(|| unreadable("it holds no tree ensemble"))?;
        let (prefix, base, logistic) = head(node)?;
        let ints = |name: &str| node.ints(name).ok_or_else(|| unreadable(&format!("attribute '{name}' is missing")));
        let floats = |name: &str| node.floats(name).ok_or_else(|| unreadable(&format!("attribute '{name}' is missing")));
        let (tree, id, feature) = (ints("nodes_treeids")?, ints("nodes_nodeids")?, ints("nodes_featureids")?);
        let (yes, no, values) = (ints("nodes_truenodeids")?, ints("nodes_falsenodeids")?, floats("nodes_values")?);
        let modes = node.strings("nodes_modes").ok_or_else(|| unreadable("attribute 'nodes_modes' is missing"))?;
        let missing = node.ints("nodes_missing_value_tracks_true").map_or_else(|| vec![0; tree.len()], <[i64]>::to_vec);
        let n = tree.len();
        if [id.len(), feature.len(), yes.len(), no.len(), values.len(), modes.len(), missing.len()] != [n; 7] {
            return Err(unreadable("its columns differ in length"));
        }
        let place: std::collections::BTreeMap<(i64, i64), usize> = (0..n).map(|i| ((tree[i], id[i]), i)).collect();
        let find = |t: i64, k: i64| place.get(&(t, k)).copied().ok_or_else(|| unreadable("a branch leads nowhere"));
        let mut out = Self { nodes: Vec::with_capacity(n), roots: Vec::new(), weights: vec![0.0; n], base, logistic, n_features: 0 };
        for i in 0..n {
            if i == 0 || tree[i] != tree[i - 1] {
                out.roots.push(i);
            }
            let leaf = modes[i] == b"LEAF";
            if !leaf && modes[i] != b"BRANCH_LEQ" {
                return Err(unreadable("it has splits other than '<='"));
            }
            let feature = usize::try_from(feature[i]).map_err(|_| unreadable("a negative feature number"))?;
            out.n_features = out.n_features.max(feature + 1);
            let (yes, no) = if leaf { (i, i) } else { (find(tree[i], yes[i])?, find(tree[i], no[i])?) };
            if !leaf && (yes <= i || no <= i) {
                return Err(unreadable("its branches run in a circle"));
            }
            out.nodes.push(OnnxNode { feature, threshold: values[i], yes, no, missing_true: missing[i] != 0, leaf });
        }
        let leaf = |what: &str| format!("{prefix}_{what}");
        let (target_tree, target_node, weight) = (ints(&leaf("treeids"))?, ints(&leaf("nodeids"))?, floats(&leaf("weights"))?);
        if target_tree.len() != target_node.len() || weight.len() != target_tree.len() {
            return Err(unreadable("its leaf columns differ in length"));
        }
        for ((t, k), w) in target_tree.iter().zip(target_node).zip(weight) {
            out.weights[find(*t, *k)?] += *w;
        }
        Ok(out)
    }

    /// Raw score of one float32 row, and the leaf reached in each tree.
    fn walk(&self, row: &[f32]) -> (f32, Vec<usize>) {
        let mut sum = self.base;
        let mut reached = Vec::with_capacity(self.roots.len());
        for root in &self.roots {
            let mut at = *root;
            while !self.nodes[at].leaf {
                let node = &self.nodes[at];
                let x = row[node.feature];
                at = if x <= node.threshold || (x.is_nan() && node.missing_true) { node.yes } else { node.no };
            }
            sum += self.weights[at];
            reached.push(at - root);
        }
        (sum, reached)
    }

    /// Prediction of one float32 row.
    pub fn predict(&self, row: &[f32]) -> Result<f32> {
        if row.len() < self.n_features {
            return Err(Error::bug("a row with fewer values than the ONNX model has features"));
        }
        let raw = self.walk(row).0;
        Ok(if self.logistic { 1.0 / (1.0 + (-raw).exp()) } else { raw })
    }
}

/// What an ensemble's leaf columns are called, what is added to their sum, and whether a logistic follows.
fn head(node: &Node) -> Result<(&'static str, f32, bool)> {
    let logistic = match node.text("post_transform") {
        None | Some(b"NONE") => false,
        Some(b"LOGISTIC") => true,
        Some(_) => return Err(unreadable("its output is transformed in a way that is unknown here")),
    };
    let base = node.floats("base_values").and_then(|b| b.last().copied()).unwrap_or(0.0);
    if node.op_type.as_deref() == Some("TreeEnsembleRegressor") {
        return if logistic { Err(unreadable("a regressor does not give probabilities")) } else { Ok(("target", base, false)) };
    }
    let classes = node.ints("class_ids").ok_or_else(|| unreadable("attribute 'class_ids' is missing"))?;
    if classes.iter().any(|c| *c != classes[0]) || node.ints("classlabels_int64s").is_none_or(|labels| labels.len() != 2) {
        return Err(unreadable("it has more than two classes"));
    }
    Ok(("class", base, logistic))
}

/// The leaf that each tree of the original model reaches, numbered as in the ONNX form.
fn leaves_of(forest: &Forest, row: &[f32]) -> Vec<usize> {
    forest.trees().iter().map(|tree| tree.nodes.len() + tree.leaf(row)).collect()
}

/// Compare written bytes with the model they were made from on row-major float32 rows.
pub fn parity(forest: &Forest, bytes: &[u8], features: &[f32]) -> Result<Parity> {
    let ensemble = Ensemble::decode(bytes)?;
    let cols = forest.features().len().max(1);
    let (mut ours, mut theirs, mut flipped_rows, mut max_abs_diff) = (Vec::new(), Vec::new(), 0usize, 0.0f64);
    for row in features.chunks_exact(cols) {
        let (score, reached) = ensemble.walk(row);
        let exact = forest.raw(row);
        flipped_rows += usize::from(reached != leaves_of(forest, row));
        max_abs_diff = max_abs_diff.max((f64::from(score) - exact).abs());
        ours.push(exact);
        theirs.push(f64::from(score));
    }
    let thresholds = forest.trees().iter().flat_map(|t| &t.nodes).map(|n| n.threshold);
    let rounded_thresholds = thresholds.filter(|t| f64::from(floor_f32(*t)) < *t).count();
    let rank_correlation = rank::spearman(&ours, &theirs, rank::MIN_BREADTH).ok();
    let passed = !ours.is_empty() && max_abs_diff <= PARITY_BAR && flipped_rows == 0;
    Ok(Parity { rows: ours.len(), max_abs_diff, rank_correlation, flipped_rows, rounded_thresholds, bar: PARITY_BAR, passed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn forest() -> Forest {
        Forest::parse(include_str!("../../../tests/golden/lightgbm/regression_l2.model.txt")).unwrap()
    }

    fn golden() -> (Vec<f32>, Vec<f64>) {
        let case: Value = serde_json::from_str(include_str!("../../../tests/golden/onnx/regression_l2.json")).unwrap();
        let want = case["expected"]["onnxruntime"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let text = include_str!("../../../tests/golden/lightgbm/regression_l2_X.csv");
        let rows = text.lines().skip(1).flat_map(|l| l.split(',').map(|c| c.parse::<f64>().unwrap_or(f64::NAN) as f32).collect::<Vec<_>>()).collect();
        (rows, want)
    }

    #[test]
    fn a_foreign_export_of_the_model_evaluates_as_onnxruntime_does() {
        let foreign = Ensemble::decode(include_bytes!("../../../tests/golden/onnx/regression_l2.onnx")).unwrap();
        let (rows, want) = golden();
        for (row, want) in rows.chunks(8).zip(&want) {
            assert!((f64::from(foreign.predict(row).unwrap()) - want).abs() <= 2e-7);
        }
    }

    #[test]
    fn our_export_agrees_with_the_golden_one_and_with_the_model() {
        let bytes = encode(&forest(), "equities_xs").unwrap();
        assert_eq!(bytes, encode(&forest(), "equities_xs").unwrap());
        let ours = Ensemble::decode(&bytes).unwrap();
        let (rows, want) = golden();
        for (row, want) in rows.chunks(8).zip(&want) {
            assert!((f64::from(ours.predict(row).unwrap()) - want).abs() <= 2e-7);
        }
        let report = parity(&forest(), &bytes, &rows).unwrap();
        assert!(report.passed && report.flipped_rows == 0 && report.max_abs_diff < 1e-6, "{report:?}");
        assert!(report.rank_correlation.unwrap() > 0.999);
    }

    #[test]
    fn a_value_one_step_above_a_threshold_keeps_its_branch() {
        let forest = forest();
        let node = forest.trees()[0].nodes[0];
        let bytes = encode(&forest, "m").unwrap();
        let mut row = vec![-0.088_93_f32, -0.138_62, -0.069_11, 0.018_18, 0.0, -0.007_79, -0.003_87, 1.0];
        for x in [floor_f32(node.threshold), floor_f32(node.threshold).next_up(), floor_f32(node.threshold).next_down()] {
            row[node.feature] = x;
            assert_eq!(parity(&forest, &bytes, &row).unwrap().flipped_rows, 0, "{x}");
        }
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        assert!(Ensemble::decode(b"not a model").is_err());
        assert!(Ensemble::decode(&[]).is_err());
    }
}
