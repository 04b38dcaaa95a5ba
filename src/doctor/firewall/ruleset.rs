//! Chains and rules, and the path of a packet through them.

use std::collections::HashMap;

use serde_json::Value;

use super::condition::{self, AtTable, Mapped};
use super::devices;
use super::drop_point::DropPoint;
use super::legacy;
use super::operand::Met;
use super::packet::{ARP, CtState, JudgedPacket};
use super::sets::Sets;

/// The most nested chains: the kernel's own bound is 16 (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 16;

/// The most rules that are evaluated for one packet.
const STEPS: usize = 100_000;

/// The hooks at which the kernel runs chains.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hook {
    /// Every packet that arrives at an interface, before anything else.
    Ingress,
    /// Every packet that arrives.
    Prerouting,
    /// Packets to this host.
    Input,
    /// Packets that this host forwards.
    Forward,
    /// Packets of this host.
    Output,
    /// Every packet that leaves.
    Postrouting,
    /// Every packet that leaves by an interface, after everything else.
    Egress,
}

impl Hook {
    /// Its name in nftables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// What happens to a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FirewallVerdict {
    /// It passes.
    Passes,
    /// It is dropped.
    Drops(DropPoint),
}

/// A ruleset.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    chains: Vec<FirewallChain>,
    /// By family, table and chain.
    pub(super) rules: HashMap<(String, String, String), Vec<Value>>,
    sets: Sets,
    /// Whether a rule sets marks.
    marks: bool,
}

#[derive(Clone, Debug)]
struct FirewallChain {
    family: String,
    table: String,
    name: String,
    hook: String,
    priority: i64,
    drops: bool,
    /// Whether it sees first packets only, to translate addresses.
    nat: bool,
    /// The interfaces of a chain at the hooks ingress and egress.
    devices: Vec<String>,
}

/// The end of a packet's path through a chain.
enum ChainEnd {
    /// The chain's end, or `return`.
    Back,
    Accepted,
    Dropped {
        rule: String,
    },
    /// Its addresses are translated.
    Translated {
        rule: String,
    },
}

/// A packet on its path through the chains.
struct Walk<'a> {
    probe: &'a JudgedPacket,
    /// A condition that is not understood could have let it pass.
    doubtful: bool,
    /// The first rule that may drop it.
    may_drop: Option<String>,
    notrack: bool,
    steps: usize,
}

/// What a base chain does with a packet.
#[derive(Default)]
struct ChainOutcome {
    dropped: Option<DropPoint>,
    notrack: bool,
    /// The rule that certainly translates its addresses.
    translated: Option<DropPoint>,
}

/// The statements, and targets of iptables, that translate addresses.
const TRANSLATIONS: [&str; 9] =
    ["dnat", "snat", "masquerade", "redirect", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP"];

impl Ruleset {
    /// Reads the output of `nft -j list ruleset`; `None` if it is something else.
    #[must_use]
    pub fn read(json: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(json).ok()?;
        let mut ruleset = Self::default();
        for object in document["nftables"].as_array()? {
            ruleset.add(object);
        }
        ruleset.chains.sort_by_key(|chain| chain.priority);
        Some(ruleset)
    }

    /// Adds what `iptables-legacy-save` prints, or for 6 `ip6tables-legacy-save`.
    pub fn add_legacy(&mut self, saved: &str, version: u8) {
        for object in legacy::objects(saved, version) {
            self.add(&object);
        }
        self.chains.sort_by_key(|chain| chain.priority);
    }

    /// Whether chains belong to interfaces that are not known.
    #[must_use]
    pub fn lacks_devices(&self) -> bool {
        self.chains.iter().any(|chain| chain.has_devices() && chain.devices.is_empty())
    }

    /// Adds these interfaces from what `nft list chains` prints.
    pub fn add_devices(&mut self, listing: &str) {
        let listed = devices::of_chains(listing);
        for chain in self.chains.iter_mut().filter(|chain| chain.devices.is_empty()) {
            let key = (chain.family.as_str(), chain.table.as_str(), chain.name.as_str());
            chain.devices = listed.get(&key).cloned().unwrap_or_default();
        }
    }

    fn add(&mut self, object: &Value) {
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let (chain, rule) = (&object["chain"], &object["rule"]);
        if chain["hook"].is_string() {
            self.chains.push(FirewallChain {
                family: text(chain, "family"),
                table: text(chain, "table"),
                name: text(chain, "name"),
                hook: text(chain, "hook"),
                priority: chain["prio"].as_i64().unwrap_or_default(),
                drops: chain["policy"].as_str() == Some("drop"),
                nat: chain["type"].as_str() == Some("nat"),
                devices: match &chain["dev"] {
                    Value::Array(all) => {
                        all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
                    }
                    one => one.as_str().map(str::to_owned).into_iter().collect(),
                },
            });
        } else if rule.is_object() {
            let key = (text(rule, "family"), text(rule, "table"), text(rule, "chain"));
            self.marks |= rule["expr"].as_array().into_iter().flatten().any(sets_marks);
            self.rules.entry(key).or_default().push(rule.clone());
        } else if let Some(set) =
            ["set", "map"].map(|kind| &object[kind]).into_iter().find(|one| one.is_object())
        {
            self.sets.add((&text(set, "family"), &text(set, "table")), set);
        }
    }

    /// The verdict of the hooks in this order; the first drop ends the path.
    #[must_use]
    pub fn judge(&self, hooks: &[Hook], probe: &JudgedPacket) -> FirewallVerdict {
        let chains = hooks
            .iter()
            .flat_map(|hook| self.chains.iter().filter(|chain| chain.is_for(*hook, probe)));
        let mut drops = chains.filter_map(|chain| self.base(chain, probe).dropped);
        drops.next().map_or(FirewallVerdict::Passes, FirewallVerdict::Drops)
    }

    /// The verdict of the hooks of bridges, whose ports are not known.
    #[must_use]
    pub fn judge_bridged(&self, hooks: &[Hook], probe: &JudgedPacket) -> FirewallVerdict {
        let of_bridges = |hook: &Hook| {
            let name = hook.name();
            self.chains.iter().filter(move |one| one.family == "bridge" && one.hook == name)
        };
        let mut drops =
            hooks.iter().flat_map(of_bridges).filter_map(|chain| self.base(chain, probe).dropped);
        drops.next().map_or(FirewallVerdict::Passes, FirewallVerdict::Drops)
    }

    /// The rule at these hooks that translates the packet's addresses.
    #[must_use]
    pub fn translates(&self, hooks: &[Hook], probe: &JudgedPacket) -> Option<DropPoint> {
        let chains = hooks
            .iter()
            .flat_map(|hook| self.chains.iter().filter(|chain| chain.is_for(*hook, probe)));
        chains.filter(|chain| chain.nat).find_map(|chain| self.base(chain, probe).translated)
    }

    /// Whether a base chain is one that translates addresses.
    #[must_use]
    pub fn is_nat(&self, family: &str, table: &str, name: &str) -> bool {
        self.chain(family, table, name).is_some_and(|chain| chain.nat)
    }

    /// The hook of a chain; `None`: other chains jump to it.
    #[must_use]
    pub fn hook_of(&self, family: &str, table: &str, name: &str) -> Option<&str> {
        self.chain(family, table, name).map(|chain| chain.hook.as_str())
    }

    fn chain(&self, family: &str, table: &str, name: &str) -> Option<&FirewallChain> {
        let is_it = |chain: &&FirewallChain| {
            (chain.family.as_str(), chain.table.as_str(), chain.name.as_str())
                == (family, table, name)
        };
        self.chains.iter().find(is_it)
    }

    /// The base chains that see packets which this host forwards or tunnels, each with its hook.
    #[must_use]
    pub fn of_passing_packets(&self) -> Vec<String> {
        let of_ip = |chain: &&FirewallChain| chain.family != "arp";
        let passing = self.chains.iter().filter(of_ip);
        let passing = passing.filter(|chain| chain.hook != Hook::Input.name());
        passing
            .map(|FirewallChain { family, table, name, hook, .. }| {
                format!("{family} {table} {name} ({hook})")
            })
            .collect()
    }

    /// Whether a rule at this hook keeps the packet from connection tracking.
    #[must_use]
    pub fn untracks(&self, hook: Hook, probe: &JudgedPacket) -> bool {
        let mut chains = self.chains.iter().filter(|chain| chain.is_for(hook, probe));
        chains.any(|chain| self.base(chain, probe).notrack)
    }

    fn base(&self, chain: &FirewallChain, probe: &JudgedPacket) -> ChainOutcome {
        let (doubtful, may_drop, notrack, steps) = (false, None, false, 0);
        let mut walk = Walk { probe, doubtful, may_drop, notrack, steps };
        let end = self.walk(chain, &chain.name, &mut walk, 0);
        let point = |rule: String, certain| DropPoint {
            family: chain.family.clone(),
            table: chain.table.clone(),
            chain: chain.name.clone(),
            hook: chain.hook.clone(),
            rule,
            certain,
        };
        let mut outcome = ChainOutcome { notrack: walk.notrack, ..ChainOutcome::default() };
        outcome.dropped = match (end, walk.may_drop) {
            (ChainEnd::Dropped { rule }, _) => Some(point(rule, !walk.doubtful)),
            (ChainEnd::Translated { rule }, None) => {
                outcome.translated = (!walk.doubtful).then(|| point(rule, true));
                None
            }
            (ChainEnd::Back, _) if chain.drops => {
                Some(point("its policy".to_owned(), !walk.doubtful))
            }
            (_, Some(rule)) => Some(point(rule, false)),
            _ => None,
        };
        outcome
    }

    fn walk(
        &self,
        base: &FirewallChain,
        chain: &str,
        walk: &mut Walk<'_>,
        depth: usize,
    ) -> ChainEnd {
        let key = (base.family.clone(), base.table.clone(), chain.to_owned());
        let rules = self.rules.get(&key).map(Vec::as_slice).unwrap_or_default();
        for rule in rules {
            walk.steps += 1;
            if depth > DEPTH || walk.steps > STEPS {
                walk.doubtful = true;
                return ChainEnd::Back;
            }
            let name = format!("rule {} of chain {chain}", rule["handle"]);
            match self.rule(base, rule, &name, walk, depth) {
                Some(ChainEnd::Back) => return ChainEnd::Back,
                Some(end) => return end,
                None => {}
            }
        }
        ChainEnd::Back
    }

    /// `None`: the next rule is looked at.
    fn rule(
        &self,
        base: &FirewallChain,
        rule: &Value,
        name: &str,
        walk: &mut Walk<'_>,
        depth: usize,
    ) -> Option<ChainEnd> {
        let mut met: Met = Some(true);
        let (sets, marks, packet) = (&self.sets, self.marks, walk.probe);
        let at = AtTable { packet, table: (&base.family, &base.table), sets, marks };
        for statement in rule["expr"].as_array()? {
            let (kind, value) = statement.as_object()?.iter().next()?;
            match kind.as_str() {
                "match" => match condition::met(value, at) {
                    Some(true) => {}
                    Some(false) => return None,
                    None => met = None,
                },
                "vmap" => {
                    return match condition::mapped(value, at) {
                        Mapped::Nothing => None,
                        Mapped::Verdict(one) => self.verdict(base, one, met, name, walk, depth),
                        Mapped::Possible(all) => {
                            walk.doubtful |= all.is_empty();
                            for one in all {
                                let _ = self.verdict(base, one, None, name, walk, depth);
                            }
                            None
                        }
                    };
                }
                "xt" if value["type"] == "target" && untracks(&value["name"]) => {
                    walk.notrack |= met == Some(true);
                }
                "xt" if value["type"] == "target" => {
                    let verdict = target(value["name"].as_str().unwrap_or_default());
                    if let Some(verdict) = verdict {
                        return self.verdict(base, &verdict, met, name, walk, depth);
                    }
                }
                _ if depends(kind, value) => met = None,
                "notrack" if met == Some(true) => walk.notrack = true,
                _ if VERDICTS.contains(&kind.as_str()) || TRANSLATIONS.contains(&kind.as_str()) => {
                    return self.verdict(base, statement, met, name, walk, depth);
                }
                _ => {}
            }
        }
        None
    }

    fn verdict(
        &self,
        base: &FirewallChain,
        verdict: &Value,
        met: Met,
        name: &str,
        walk: &mut Walk<'_>,
        depth: usize,
    ) -> Option<ChainEnd> {
        let (kind, value) = verdict.as_object()?.iter().next()?;
        let sure = met == Some(true);
        match kind.as_str() {
            "drop" | "reject" if sure => Some(ChainEnd::Dropped { rule: name.to_owned() }),
            "drop" | "reject" => {
                walk.may_drop.get_or_insert_with(|| name.to_owned());
                None
            }
            "accept" if sure => Some(ChainEnd::Accepted),
            "return" if sure => Some(ChainEnd::Back),
            "continue" => None,
            kind if sure && TRANSLATIONS.contains(&kind) => {
                Some(ChainEnd::Translated { rule: name.to_owned() })
            }
            "jump" | "goto" => {
                let before = walk.doubtful;
                walk.doubtful |= !sure;
                let end = self.walk(base, value["target"].as_str()?, walk, depth + 1);
                match end {
                    ChainEnd::Back if kind == "goto" && sure => Some(ChainEnd::Back),
                    ChainEnd::Back => None,
                    end if sure => {
                        walk.doubtful = before || walk.doubtful;
                        Some(end)
                    }
                    ChainEnd::Dropped { rule } => {
                        walk.may_drop.get_or_insert(rule);
                        None
                    }
                    ChainEnd::Accepted | ChainEnd::Translated { .. } => None,
                }
            }
            _ => {
                walk.doubtful = true;
                None
            }
        }
    }
}

/// The statements that end a rule.
const VERDICTS: [&str; 7] = ["accept", "drop", "reject", "return", "continue", "jump", "goto"];

/// Whether more than the packet decides if the rule goes on.
fn depends(kind: &str, value: &Value) -> bool {
    let nested = || value["stmt"].as_array().is_some_and(|all| !all.is_empty());
    match kind {
        "xt" | "limit" | "quota" | "connlimit" | "ct count" | "meter" | "queue" => true,
        "set" | "map" => nested(),
        _ => false,
    }
}

/// The verdict of a target of iptables; `None`: the next rule is looked at.
fn target(name: &str) -> Option<Value> {
    let name = if name == "REJECT" { "reject" } else { name };
    (name == "reject" || TRANSLATIONS.contains(&name)).then(|| serde_json::json!({name: null}))
}

/// Whether this target of iptables keeps packets from connection tracking. nft does not list its
/// options: `CT` nearly always has `--notrack`; otherwise it names a helper or a zone.
fn untracks(target: &Value) -> bool {
    target == "CT" || target == "NOTRACK"
}

/// Whether a statement sets the mark of packets or connections.
fn sets_marks(statement: &Value) -> bool {
    let key = &statement["mangle"]["key"];
    let name = statement["xt"]["name"].as_str().unwrap_or_default();
    key["meta"]["key"] == "mark" || key["ct"]["key"] == "mark" || name.ends_with("MARK")
}

impl FirewallChain {
    /// Whether it belongs to interfaces.
    fn has_devices(&self) -> bool {
        self.hook == "ingress" || self.hook == "egress"
    }

    /// Whether a packet of this interface passes a chain that belongs to interfaces; `None`: of an
    /// unknown one, but not loopback.
    fn is_at(&self, interface: Option<&str>) -> bool {
        let is_it = |device: &String| interface.map_or(device != "lo", |name| device == name);
        // Where the interfaces could not be read.
        self.devices.iter().any(is_it)
            || (self.devices.is_empty() && (interface.is_none() || self.hook == "egress"))
    }

    fn is_for(&self, hook: Hook, probe: &JudgedPacket) -> bool {
        let family = match self.family.as_str() {
            "inet" => probe.version != ARP,
            "arp" => probe.version == ARP,
            "ip" => probe.version == 4,
            "ip6" => probe.version == 6,
            "netdev" => true,
            _ => false,
        };
        let interface = match hook {
            Hook::Egress => probe.output.as_deref(),
            _ => probe.input.as_deref(),
        };
        let passes = !self.has_devices() || self.is_at(interface);
        family && passes && self.hook == hook.name() && (!self.nat || probe.state == CtState::New)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
