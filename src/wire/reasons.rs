//! The shape of every list of drop reasons: a variant is a counter, a name in the JSON output and a
//! line in the docs.

/// Declares an enum of reasons from doc comments and counter names, with `ALL`, `name` and
/// `meaning`.
macro_rules! reasons {
    (
        $(#[doc = $about:literal])+
        pub enum $reasons:ident {
            $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum $reasons {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $reasons {
            /// Every reason, in the order of the counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The counter's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it means, for operators.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+
                }
            }
        }
    };
}

pub(crate) use reasons;
