#!/usr/bin/env bash
# toml_edit 0.25.20: a table that was parsed keeps its position in its document as a hidden number, a clone too, and `to_string` sorts
# by it. So a cloned entry of an array of tables, or one from another file, is written between the original and the original's own
# sub-tables, and these become the clone's: what is read again differs from what was in memory. No error anywhere.
#
# Seen, `[[service]]` with `[[service.real]]` below: a service copied under a new name takes the original's real server, and the
# original is left without one; the first service moved to the end of the array is written first again; entries of a second file that
# are pushed into the first one's array rob its services of all real servers. Tables made by `Table::new()` come out right.
# Expected: the text says what the tree says, whatever the tables' history (`set_position` is there for those who want an order).
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
toml_edit = "=0.25.20"
T
cat >src/main.rs <<'R'
use toml_edit::{ArrayOfTables, DocumentMut, value};

fn document(names: [&str; 2]) -> DocumentMut {
    let service = |name| {
        format!("[[service]]\nname = \"{name}\"\n\n[[service.real]]\naddress = \"{name}1\"\n\n")
    };
    names.map(service).concat().parse().unwrap()
}

fn services(document: &mut DocumentMut) -> &mut ArrayOfTables {
    document["service"].as_array_of_tables_mut().unwrap()
}

fn list(document: &DocumentMut) -> String {
    let one = |service: &toml_edit::Table| {
        let reals = service.get("real").and_then(|real| real.as_array_of_tables());
        let reals = reals.into_iter().flatten().filter_map(|real| real["address"].as_str());
        format!("{}: {}", service["name"].as_str().unwrap(), reals.collect::<Vec<_>>().join(" "))
    };
    let services = document["service"].as_array_of_tables().unwrap();
    services.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn show(name: &str, document: &DocumentMut) {
    println!("{name}, in memory: {}", list(document));
    println!("{name}, read again: {}", list(&document.to_string().parse().unwrap()));
}

fn main() {
    let mut copied = document(["a", "b"]);
    let mut copy = services(&mut copied).get(0).unwrap().clone();
    copy["name"] = value("c");
    copy["real"][0]["address"] = value("c1");
    services(&mut copied).push(copy);
    show("copied", &copied);

    let mut moved = document(["a", "b"]);
    let first = services(&mut moved).get(0).unwrap().clone();
    services(&mut moved).remove(0);
    services(&mut moved).push(first);
    show("moved", &moved);

    let mut joined = document(["a", "b"]);
    for service in services(&mut document(["x", "y"])).iter() {
        services(&mut joined).push(service.clone());
    }
    show("joined", &joined);
}
R
cargo run -q >out 2>build.log || { echo "cannot build or run:"; tail -n 25 build.log; exit 77; }
cat out
diff - out <<'X' || { echo changed; exit 1; }
copied, in memory: a: a1, b: b1, c: c1
copied, read again: a: , c: a1 c1, b: b1
moved, in memory: b: b1, a: a1
moved, read again: a: a1, b: b1
joined, in memory: a: a1, b: b1, x: x1, y: y1
joined, read again: a: , x: a1 x1, b: , y: b1 y1
X
