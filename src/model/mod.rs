//! The model: services, real servers and policies as values, with their names, texts and bounds.
//! Pure; the lowest layer but `wire`.
//!
//! Everything here is a plain value that configuration, balancer and control socket share, without
//! packets, connections or files.

pub mod duration;
mod id;
mod listen;
mod policy;
mod real;
mod real_value;
mod scheduler;
mod seed;
mod service;
mod setting;
mod step;
mod target;
mod thresholds;
mod time;

pub use crate::wire::encap::Encap;
pub use id::{RealId, ServiceId};
pub use listen::{Listen, ListenError, PortRange, Protocol};
pub use policy::{Existing, FloodMarks, Persistence, Policy, Quiescent, Unknown};
pub use real::{AdminState, Established, Health, Load, RealSpec, RealState, SavedState};
pub use real_value::{MAX_WEIGHT, RealValue, RealValues};
pub use scheduler::SchedulerKind;
pub use seed::Seed;
pub use service::ServiceSpec;
pub use setting::{Difference, Setting, Settings, Value, differences};
pub use step::WeightStep;
pub use target::Target;
pub use thresholds::Thresholds;
pub use time::{Millis, Timeouts};
