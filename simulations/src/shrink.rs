//! The smallest plan that still fails: faults are taken out while the same promise stays broken.
//!
//! Delta debugging (Zeller and Hildebrandt 2002), without its complements: plans are short. Each fault
//! begins and heals by itself, so what is left after taking some out is a plan as well.

/// Takes out of `plan` what `still_fails` does not need: first halves, then smaller pieces, then one by one
/// until none can go. The result fails, and no single element of it can be taken out.
pub fn shrink<T: Clone>(plan: Vec<T>, mut still_fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut plan = plan;
    let mut piece = plan.len().div_ceil(2);
    while piece > 0 && !plan.is_empty() {
        let mut at = 0;
        let mut smaller = false;
        while at < plan.len() {
            let mut rest = plan.clone();
            rest.drain(at..(at + piece).min(rest.len()));
            if still_fails(&rest) {
                (plan, smaller) = (rest, true);
            } else {
                at += piece;
            }
        }
        // One that could not go may go after another one went.
        piece = if piece == 1 && smaller { 1 } else { piece / 2 };
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_failure_needs_stays() {
        let needs = |plan: &[u32]| plan.contains(&3) && plan.contains(&7);
        assert_eq!(shrink((0..10).collect(), needs), [3, 7]);
        assert_eq!(shrink(vec![3, 7], needs), [3, 7]);
        assert!(shrink((0..10).collect(), |_| true).is_empty(), "it fails without any fault");
    }

    #[test]
    fn one_that_another_holds_in_place_goes_after_it() {
        // Without 1 it fails only when 0 is gone as well; 0 can go only when 1 is the last with it.
        let fails = |plan: &[u32]| matches!(plan, [0, 1, 2] | [1, 2] | [2]);
        assert_eq!(shrink(vec![0, 1, 2], fails), [2]);
    }
}
