//! Raw and adjusted prices as different types, so that an action can never be applied twice.

/// A price as it was traded, in dollars.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct RawPrice(pub f64);

/// A price restated in today's shares, cash dividends taken out: only returns between two of these mean anything.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct AdjPrice(f64);

/// What raw prices of a day are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PriceFactor(pub f64);

impl RawPrice {
    /// The only way to an adjusted price.
    pub fn adjust(self, factor: PriceFactor) -> AdjPrice {
        AdjPrice(self.0 * factor.0)
    }
}

impl AdjPrice {
    pub fn dollars(self) -> f64 {
        self.0
    }
    /// Simple return from an earlier adjusted price.
    ///
    /// Adjusting an adjusted price, or taking returns of raw ones, does not compile:
    /// ```compile_fail
    /// use data_layer::curate::{PriceFactor, RawPrice};
    /// let once = RawPrice(100.0).adjust(PriceFactor(0.25));
    /// let twice = once.adjust(PriceFactor(0.25));
    /// ```
    /// ```compile_fail
    /// use data_layer::curate::RawPrice;
    /// RawPrice(25.0).return_since(RawPrice(100.0));
    /// ```
    pub fn return_since(self, earlier: AdjPrice) -> f64 {
        self.0 / earlier.0 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::any::TypeId;

    #[test]
    fn lesson_043_raw_and_adjusted_prices_are_different_types_with_one_way_between_them() {
        // That the way back and the second adjustment do not compile is shown by the examples above, which are run as tests.
        assert_ne!(TypeId::of::<RawPrice>(), TypeId::of::<AdjPrice>());
        let (before, after) = (RawPrice(400.0).adjust(PriceFactor(0.25)), RawPrice(101.0).adjust(PriceFactor(1.0)));
        assert_eq!(before.dollars(), 100.0);
        assert!((after.return_since(before) - 0.01).abs() < 1e-12);
    }
}
