//! Where a packet is dropped.

/// The rule or policy that drops, and the base chain through which the packet came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DropPoint {
    /// `ip`, `ip6`, `inet` or another one of nftables.
    pub family: String,
    /// The table.
    pub table: String,
    /// The base chain.
    pub chain: String,
    /// Its hook, as nftables names it.
    pub hook: String,
    /// The rule as its chain and handle, or the chain's policy.
    pub rule: String,
    /// Whether the drop is certain: all conditions were understood.
    pub certain: bool,
}

impl DropPoint {
    /// The rule and its base chain, in words.
    #[must_use]
    pub fn rule_and_chain(&self) -> String {
        let Self { family, table, chain, rule, .. } = self;
        format!("{rule}, by base chain {chain} of table {family} {table}")
    }

    /// The command that inserts a rule at the start of the base chain.
    #[must_use]
    pub fn insert(&self, rule: &str) -> String {
        let Self { family, table, chain, .. } = self;
        // The shell removes the quotes of a name; nft(8) needs them only for unusual names.
        format!("nft insert rule {family} {table} {chain} {rule}")
    }
}
