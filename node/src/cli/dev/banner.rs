//! What a user sees first: the nodes, and three commands to try.

use std::path::Path;

use super::super::table::Table;
use super::fleet::Fleet;
use super::view::View;

/// The table of nodes and the commands.
pub(super) fn text(fleet: &Fleet<'_>, view: &View, data_dir: &Path) -> String {
    let mut table = Table::new(&["NODE", "PID", "HTTP", "MESH (UDP)", ""]);
    for slot in &fleet.slots {
        let is_beat = view.beat.as_deref() == Some(slot.name.as_str());
        table.row([
            slot.name.clone(),
            slot.pid().map_or("-".to_owned(), |pid| pid.to_string()),
            format!("http://{}", slot.addresses.http),
            slot.addresses.mesh.to_string(),
            if is_beat { "Beat".to_owned() } else { String::new() },
        ]);
    }
    let base = fleet.slots.first().map_or(String::new(), |slot| format!("http://{}", slot.addresses.http));
    format!(
        "\nmesh {mesh}, data in {data}\n\n{table}\n\n\
         Try, on any node:\n  \
         curl -d '{{\"name\":\"Ada\"}}' {base}/v1/functions/hello/call\n  \
         curl -d '{{\"name\":\"Ada\"}}' {base}/v1/functions/hello/tasks\n  \
         curl '{base}/v1/schedules/every-2s/ticks?limit=5'\n\n\
         Kill a node with `kill -9 PID` and watch. Ctrl-C stops everything. The log of all nodes:\n",
        mesh = view.mesh,
        data = data_dir.display(),
        table = table.render(),
    )
}
