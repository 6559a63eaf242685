//! The stories in small, that a seed decides them, and that they can turn red.

use super::teeth::{Part, bite};
use super::*;

fn look(story: Story, setting: Setting) -> Book {
    story.play(&setting, Effort::Look, 1)
}

#[test]
fn every_story_keeps_its_goals_in_a_small_mesh() {
    for story in Story::ALL {
        let book = look(story, Setting::lan(5, 0.0));
        assert_eq!(book.broken(), [""; 0], "{}: {book:?}", story.as_str());
        assert!(book.figures().next().is_some());
    }
}

#[test]
fn loss_buries_nobody() {
    for story in [Story::Kill, Story::Quiet, Story::Leave] {
        let book = look(story, Setting::lan(10, 0.05));
        let (_, deaths) = book.figures().find(|((name, ..), _)| name.starts_with("false deaths")).unwrap();
        assert!(matches!(deaths.rare, Some((0, 50..))), "{deaths:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let played = |seed| Story::Kill.play(&Setting::lan(7, 0.05), Effort::Look, seed);
    assert_eq!(played(3), played(3));
    assert_ne!(played(3), played(4));
}

#[test]
fn a_figure_of_nothing_is_a_failure() {
    let mut book = Book::default();
    book.rare("deaths", &Setting::lan(5, 0.0), (0, 0), Some(0.0));
    assert_eq!(book.broken(), ["deaths"]);
}

#[test]
fn no_part_of_the_detector_can_be_taken_away_unnoticed() {
    for part in Part::ALL {
        assert!(bite(part, 0..5).is_some(), "nothing misses {part}");
    }
}
