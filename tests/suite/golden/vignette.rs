//! The worked example of the R package `pbo`, whose input is made by R's random numbers: Mersenne Twister, normals by
//! inversion (Wichura's algorithm AS 241).

use super::case::{Case, Checked};
use super::luck::matrix;
use engine::validation::pbo;
use serde_json::json;

const N: usize = 624;

/// R's generator after `set.seed`.
struct Twister {
    state: [u32; N],
    at: usize,
}

impl Twister {
    fn seeded(mut seed: u32) -> Self {
        let mut next = || {
            seed = seed.wrapping_mul(69_069).wrapping_add(1);
            seed
        };
        (0..50).for_each(|_| {
            next();
        });
        // The first word seeds the position, which R then sets to "used up".
        next();
        Self { state: std::array::from_fn(|_| next()), at: N }
    }

    fn refill(&mut self) {
        for k in 0..N {
            let y = (self.state[k] & 0x8000_0000) | (self.state[(k + 1) % N] & 0x7fff_ffff);
            self.state[k] = self.state[(k + 397) % N] ^ (y >> 1) ^ if y & 1 == 1 { 0x9908_b0df } else { 0 };
        }
        self.at = 0;
    }

    /// Of (0, 1).
    fn uniform(&mut self) -> f64 {
        if self.at >= N {
            self.refill();
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^= y >> 18;
        (f64::from(y) * 2.328_306_436_538_696_3e-10).clamp(0.5 * 2.328_306_437_080_797e-10, 1.0 - 0.5 * 2.328_306_437_080_797e-10)
    }

    fn normal(&mut self) -> f64 {
        const BIG: f64 = 134_217_728.0;
        let high = (BIG * self.uniform()).floor();
        quantile((high + self.uniform()) / BIG)
    }
}

/// Ratio of two polynomials with coefficients of rising powers.
fn ratio(x: f64, above: &[f64], below: &[f64]) -> f64 {
    let sum = |c: &[f64]| c.iter().rev().fold(0.0, |s, c| s * x + c);
    sum(above) / sum(below)
}

/// The normal quantile, to about 1e-16.
fn quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * ratio(r, &CENTRE.0, &CENTRE.1);
    }
    let r = (-(if q < 0.0 { p } else { 1.0 - p }).ln()).sqrt();
    let tail = if r <= 5.0 { ratio(r - 1.6, &MIDDLE.0, &MIDDLE.1) } else { ratio(r - 5.0, &FAR.0, &FAR.1) };
    if q < 0.0 { -tail } else { tail }
}

type Rational = ([f64; 8], [f64; 8]);

const CENTRE: Rational = (
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_545,
    ],
);
const MIDDLE: Rational = (
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
);
const FAR: Rational = (
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_7e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
);

/// The number after a word of the case's R code.
fn said(code: &str, word: &str) -> f64 {
    let rest = code.split_once(word).unwrap_or_else(|| panic!("the code does not say '{word}'")).1;
    rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next().and_then(|n| n.parse().ok()).unwrap()
}

pub fn overfitting(case: &Case) -> Checked {
    let code = case.input("r_code").as_str().unwrap();
    let (trials, days, blocks) = (said(code, "n=") as usize, said(code, "t=") as usize, said(code, "S=") as usize);
    let mut random = Twister::seeded(said(code, "set.seed(") as u32);
    let scaled = |raw: Vec<f64>| -> Vec<f64> {
        let n = raw.len() as f64;
        let mean = raw.iter().sum::<f64>() / n;
        let sd = (raw.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        raw.iter().map(|x| (x - mean) / sd / 252f64.sqrt()).collect()
    };
    let series: Vec<Vec<f64>> = (0..trials).map(|_| scaled((0..days).map(|_| random.normal()).collect())).collect();
    let p = pbo::cscv_excess(&matrix(&series), blocks, said(code, "rf=") / 252.0).unwrap();
    // The package regresses the in-sample Sharpe ratio on the other one and prints the intercept.
    let n = p.is_sharpe.len() as f64;
    let (my, mx) = (p.is_sharpe.iter().sum::<f64>() / n, p.oos_sharpe.iter().sum::<f64>() / n);
    let pairs = || p.oos_sharpe.iter().zip(&p.is_sharpe);
    let slope = pairs().map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / pairs().map(|(x, _)| (x - mx).powi(2)).sum::<f64>();
    json!({
        "pbo": p.pbo, "prob_oos_loss": p.prob_oos_loss, "intercept_is_on_oos": my - slope * mx, "adj_r2": p.adj_r2,
        "slope_oos_on_is": p.slope_oos_on_is, "intercept_oos_on_is": p.intercept_oos_on_is,
    })
    .into()
}
