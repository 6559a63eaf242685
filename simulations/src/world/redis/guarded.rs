//! The product's scripts without one of their checks: a line that ends with `--guard NAME` stands for one.

use crate::world::store::guards::{Guard, Guards};

const MARK: &str = "--guard ";

/// A script with the lines taken out that a run does without. All others stay where they were.
pub(super) fn text(script: &str, guards: Guards) -> String {
    let lines = script.lines().map(|line| match line.split_once(MARK) {
        Some((check, name)) => checked(check, name.trim(), guards),
        None => line.to_owned(),
    });
    let lines: Vec<_> = lines.collect();
    lines.join("\n")
}

fn checked(check: &str, name: &str, guards: Guards) -> String {
    let Ok(guard) = name.parse::<Guard>() else { return check.to_owned() };
    if !guards.has(guard) {
        return String::new();
    }
    // A store that overlooks a pause has nothing to compare with while it lasts.
    if guard == Guard::RevisionCompare && !guards.has(Guard::EnabledCheck) {
        return format!("if enabled == '1' then {check} end");
    }
    check.to_owned()
}

#[cfg(test)]
mod tests {
    use beatmesh_node::queue::redis::scripts;

    use super::*;

    #[test]
    fn every_guard_of_the_scripts_is_one_that_a_run_can_do_without() {
        let marked = |text: &str| -> Vec<String> {
            let names = text.lines().filter_map(|line| line.split_once(MARK));
            names.map(|(_, name)| name.trim().to_owned()).collect()
        };
        let mut names: Vec<_> = scripts().into_iter().flat_map(|script| marked(&script.text)).collect();
        names.sort_unstable();
        names.dedup();
        let mut known = Guard::OF_SCRIPTS.map(Guard::as_str).to_vec();
        known.sort_unstable();
        assert_eq!(names, known);
        for name in names {
            let guard: Guard = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            let shorter = |text: &String| {
                self::text(text, Guards::without(guard)) != self::text(text, Guards::default())
            };
            assert!(scripts().into_iter().any(|script| shorter(&script.text)), "{name} changes nothing");
        }
    }
}
