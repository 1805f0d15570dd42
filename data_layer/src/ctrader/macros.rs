//! One declaration for a message's structure, its encoding and the table that is compared with the official one.

/// `Name "ProtoName" [number] { field: RustType = kind label number officialName [of Type], }`: the structure with prost's
/// attributes, and the same tokens as a table of fields. The number in brackets is absent for parts of messages.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident $proto:literal $([$payload:literal])? {
        $($field:ident : $ty:ty = $kind:ident $(($with:tt))? $label:ident $tag:tt $official:ident $(of $of:literal)?,)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, prost::Message)]
        pub struct $name {
            $(#[prost($kind $(= $with)?, $label, tag = $tag)] pub $field: $ty,)*
        }
        impl $crate::ctrader::Named for $name {
            const NAME: &'static str = $proto;
            const FIELDS: &'static [$crate::ctrader::Field] =
                &[$((stringify!($official), $tag, stringify!($label), $crate::ctrader::macros::type_name!($kind $($of)?)),)*];
        }
        $(impl $crate::ctrader::Wire for $name {
            const PAYLOAD: u32 = $payload;
        })?
    )*
    /// Name and fields of everything declared here, and the number of what travels by itself.
    pub(super) fn table() -> Vec<(&'static str, Option<u32>, &'static [$crate::ctrader::Field])> {
        use $crate::ctrader::Named;
        vec![$((<$name>::NAME, $crate::ctrader::macros::number!($($payload)?), <$name>::FIELDS),)*]
    }};
}

/// The official type of a field: that of a part or an enum, or the encoding's own word.
macro_rules! type_name {
    ($kind:ident $of:literal) => {
        $of
    };
    ($kind:ident) => {
        stringify!($kind)
    };
}

/// The number of a message that travels by itself.
macro_rules! number {
    ($payload:literal) => {
        Some($payload)
    };
    () => {
        None
    };
}

/// `Name "ProtoName" { Word = number "OFFICIAL_WORD", }`: constants of an enum that travels as a number.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident $proto:literal { $($word:ident = $number:literal $official:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum $name { $($word = $number,)* }
        impl $name {
            /// The word of a number; `None` for one that this version does not know.
            pub fn of(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$word),)* _ => None }
            }
            pub fn number(self) -> i32 {
                self as i32
            }
            /// The official name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$word => $official,)* }
            }
        }
    )*
    /// Enum, official name and number of every word.
    pub(super) fn table() -> Vec<(&'static str, &'static str, i32)> {
        vec![$($(($proto, $official, $number),)*)*]
    }};
}

pub(super) use messages;
pub(super) use number;
pub(super) use type_name;
pub(super) use words;
