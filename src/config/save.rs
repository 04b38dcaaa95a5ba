//! The text of a configuration with the changes that verbs have made at run time. Comments and
//! layout stay.

use std::net::IpAddr;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value, value};

use crate::model::AdminState;

/// A service as it runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunningService {
    /// Its name.
    pub name: String,
    /// Its real servers, without those that were removed and without the last resort.
    pub reals: Vec<RunningReal>,
}

/// A real server as it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RunningReal {
    /// Its address.
    pub address: IpAddr,
    /// Its weight.
    pub weight: u32,
    /// Its wanted state.
    pub wanted: AdminState,
}

/// Why the text cannot be updated.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SaveError {
    /// The text is not TOML.
    #[error("{0}")]
    Syntax(String),
    /// The text has none of the running services, such as an empty file.
    #[error("the file has none of the services that run; name the director's own configuration")]
    NoService,
    /// `service = [{…}]`, or `real = [{…}]`.
    #[error("{0} is an inline array; write [[{0}]] tables")]
    Inline(&'static str),
}

/// The text with the real servers, weights and states of the services that run.
///
/// # Errors
/// See [`SaveError`].
pub fn saved(text: &str, running: &[RunningService]) -> Result<String, SaveError> {
    let document = text.parse::<DocumentMut>();
    let mut document = document.map_err(|error| SaveError::Syntax(error.to_string()))?;
    let services = match document.get_mut("service") {
        Some(Item::ArrayOfTables(services)) => services,
        Some(_) => return Err(SaveError::Inline("service")),
        None => return Err(SaveError::NoService),
    };
    let mut found = false;
    for table in services.iter_mut() {
        let name = table.get("name").and_then(Item::as_str);
        let Some(service) = running.iter().find(|one| Some(one.name.as_str()) == name) else {
            continue;
        };
        found = true;
        save_service(table, service)?;
    }
    if found { Ok(document.to_string()) } else { Err(SaveError::NoService) }
}

fn save_service(table: &mut Table, service: &RunningService) -> Result<(), SaveError> {
    let mut missing = service.reals.clone();
    if let Some(item) = table.get_mut("real") {
        let Item::ArrayOfTables(reals) = item else {
            return Err(SaveError::Inline("service.real"));
        };
        reals.retain(|real| {
            let address = address(real);
            service.reals.iter().any(|running| Some(running.address) == address)
        });
        for real in reals.iter_mut() {
            let address = address(real);
            if let Some(index) = missing.iter().position(|one| Some(one.address) == address) {
                save_real(real, missing.remove(index));
            }
        }
        if reals.is_empty() && missing.is_empty() {
            table.remove("real");
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let reals = table.entry("real").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let Item::ArrayOfTables(reals) = reals else { return Err(SaveError::Inline("service.real")) };
    for running in missing {
        let mut real = Table::new();
        real.insert("address", value(running.address.to_string()));
        save_real(&mut real, running);
        reals.push(real);
    }
    Ok(())
}

fn address(real: &Table) -> Option<IpAddr> {
    real.get("address")?.as_str()?.parse().ok()
}

/// Writes the values that differ. A key with its default value may be absent.
fn save_real(real: &mut Table, running: RunningReal) {
    const WEIGHT: i64 = 1;
    let weight = i64::from(running.weight);
    if real.get("weight").map_or(Some(WEIGHT), Item::as_integer) != Some(weight) {
        set(real, "weight", weight.into());
    }
    let (up, state) = (AdminState::Up.name(), running.wanted.name());
    if real.get("state").map_or(Some(up), Item::as_str) != Some(state) {
        set(real, "state", state.into());
    }
}

/// Sets a value; a comment after it stays.
fn set(table: &mut Table, key: &str, new: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = new;
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(key, Item::Value(new));
        }
    }
}
