//! Where the bars of a lane and their labels stand. Pure: places in, places out; nothing is drawn here.
//!
//! A label stays in the lane's room: where it left it, it would cover the lane's name or be cut off. And a
//! lane stays low: one that needs many rows for its labels goes without most of them, so that the other
//! lanes stay in sight. What is not written is told when somebody points at the bar.

use super::markup::{shortened, width_of};

/// From left to right.
pub(super) type Span = (f64, f64);

/// A bar in its row.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) row: usize,
    pub(super) span: Span,
    pub(super) label: Option<Label>,
}

/// Words for a bar, in its row.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) x: f64,
    pub(super) text: String,
}

/// What is shorter would not be seen.
const NARROWEST: f64 = 3.0;

/// Between a bar's edge and its words.
const GAP: f64 = 5.0;

/// Between neighbours in a row.
const APART: f64 = 4.0;

/// With labels a lane may have so many rows. Guess: a lane of more fills a third of a screen.
const MOST_ROWS: usize = 8;

/// Places bars that are sorted by where they begin, each with its words.
pub(super) fn place(wanted: &[(Span, &str)], room: Span) -> Vec<Bar> {
    let wanted: Vec<_> = wanted.iter().map(|&(span, words)| (within(span, room), words)).collect();
    let labelled = with_labels(&wanted, room);
    if rows(&labelled) <= MOST_ROWS { labelled } else { by_time_alone(&wanted, room) }
}

/// How many rows these take.
pub(super) fn rows(bars: &[Bar]) -> usize {
    bars.iter().map(|bar| bar.row + 1).max().unwrap_or(0)
}

fn within((from, until): Span, room: Span) -> Span {
    let from = from.min(room.1 - NARROWEST).max(room.0);
    (from, until.min(room.1).max(from + NARROWEST))
}

/// Each bar has a label, and a row in which neither meets anything.
fn with_labels(wanted: &[(Span, &str)], room: Span) -> Vec<Bar> {
    let mut taken = Vec::new();
    let place = |&(span, words): &(Span, &str)| {
        let label = label_of(span, words, room);
        let both = (span.0.min(label.x), span.1.max(label.x + width_of(&label.text)));
        Bar { row: first_free(&mut taken, both), span, label: Some(label) }
    };
    wanted.iter().map(place).collect()
}

/// In the bar, right of it, left of it, or shortened where most of it can be read.
fn label_of(span: Span, words: &str, room: Span) -> Label {
    let wide = width_of(words);
    let (inside, right) = (span.0 + GAP, span.1 + GAP);
    let left_of = |wide: f64| span.0 - GAP - wide;
    let (space_inside, space_right, space_left) =
        (span.1 - span.0 - 2.0 * GAP, room.1 - right, span.0 - GAP - room.0);
    let whole = |x| Label { x, text: words.to_owned() };
    if wide <= space_inside {
        whole(inside)
    } else if wide <= space_right {
        whole(right)
    } else if wide <= space_left {
        whole(left_of(wide))
    } else {
        let text = shortened(words, space_inside.max(space_right).max(space_left));
        let wide = width_of(&text);
        let x = if wide <= space_inside {
            inside
        } else if wide <= space_right {
            right
        } else {
            left_of(wide)
        };
        Label { x, text }
    }
}

/// Bars take the rows that they need without words; then words go where the row has room for them. A row of
/// equal neighbours says once what they are.
fn by_time_alone(wanted: &[(Span, &str)], room: Span) -> Vec<Bar> {
    let mut taken = Vec::new();
    let bare = |&(span, _): &(Span, &str)| Bar { row: first_free(&mut taken, span), span, label: None };
    let mut bars: Vec<_> = wanted.iter().map(bare).collect();
    let mut said = vec![None; taken.len()];
    for (index, (span, words)) in wanted.iter().enumerate() {
        let row = bars[index].row;
        if said[row] == Some(words) {
            continue;
        }
        let next = bars[index + 1..].iter().find(|bar| bar.row == row);
        let end = next.map_or(room.1, |next| next.span.0 - APART);
        let label = label_of(*span, words, (span.0, end));
        let is_whole = label.text == *words;
        said[row] = is_whole.then_some(words);
        bars[index].label = is_whole.then_some(label);
    }
    bars
}

/// The first row in which this meets nothing; takes its place there.
fn first_free(rows: &mut Vec<Vec<Span>>, span: Span) -> usize {
    let is_free =
        |row: &Vec<Span>| row.iter().all(|other| other.1 + APART <= span.0 || span.1 + APART <= other.0);
    let row = rows.iter().position(is_free).unwrap_or(rows.len());
    if row == rows.len() {
        rows.push(Vec::new());
    }
    rows[row].push(span);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Span = (100.0, 1_300.0);

    /// What a bar and its label take of their row.
    fn taken(bar: &Bar) -> Span {
        let Some(label) = &bar.label else { return bar.span };
        (bar.span.0.min(label.x), bar.span.1.max(label.x + width_of(&label.text)))
    }

    fn assert_apart(bars: &[Bar]) {
        for (index, bar) in bars.iter().enumerate() {
            let (from, until) = taken(bar);
            assert!(from >= ROOM.0 && until <= ROOM.1, "{bar:?} leaves the room");
            for other in bars[index + 1..].iter().filter(|other| other.row == bar.row) {
                let (others_from, others_until) = taken(other);
                assert!(until <= others_from || others_until <= from, "{bar:?} meets {other:?}");
            }
        }
    }

    fn label_at(span: Span, words: &str) -> (f64, String) {
        let bars = place(&[(span, words)], ROOM);
        assert_apart(&bars);
        let label = bars.into_iter().next().and_then(|bar| bar.label).expect("one bar has room for words");
        (label.x, label.text)
    }

    #[test]
    fn a_label_stands_in_its_bar_or_right_of_it_or_left_of_it() {
        assert_eq!(label_at((200.0, 900.0), "crash"), (205.0, "crash".to_owned()));
        assert_eq!(label_at((200.0, 210.0), "crash"), (215.0, "crash".to_owned()));
        let (x, text) = label_at((1_280.0, 1_290.0), "crash");
        assert!(x < 1_280.0 && text == "crash", "{x}");
    }

    #[test]
    fn a_label_that_fits_nowhere_is_shortened_and_stays_inside() {
        let words = "nothing arrives ".repeat(20);
        for from in [100.0, 400.0, 690.0, 1_000.0, 1_299.0] {
            for long in [0.0, 50.0, 500.0, 2_000.0] {
                let (_, text) = label_at((from, from + long), &words);
                assert!(text.ends_with('…') && text.chars().count() > 40, "{text}");
            }
        }
    }

    #[test]
    fn a_bar_beyond_the_ends_is_drawn_at_the_end() {
        let bars = place(&[((0.0, 50.0), "early"), ((1_300.0, 1_300.0), "late")], ROOM);
        assert_apart(&bars);
        assert_eq!(bars.iter().map(|bar| bar.span).collect::<Vec<_>>(), [(100.0, 103.0), (1_297.0, 1_300.0)]);
    }

    #[test]
    fn bars_that_overlap_have_rows_of_their_own_and_later_ones_use_them_again() {
        let bars = place(&[((200.0, 400.0), "a"), ((300.0, 500.0), "b"), ((600.0, 700.0), "c")], ROOM);
        assert_apart(&bars);
        assert_eq!(bars.iter().map(|bar| bar.row).collect::<Vec<_>>(), [0, 1, 0]);
    }

    #[test]
    fn many_short_bars_stay_in_one_row_and_equal_neighbours_say_it_once() {
        let at = |index: u32| 200.0 + 9.0 * f64::from(index);
        let mut wanted: Vec<_> =
            (0..100).map(|index| ((at(index), at(index) + 3.0), "crash node 4")).collect();
        wanted.push(((1_200.0, 1_203.0), "crash node 4"));
        let bars = place(&wanted, ROOM);
        assert_apart(&bars);
        assert_eq!(rows(&bars), 1);
        let labelled: Vec<_> = (0..bars.len()).filter(|index| bars[*index].label.is_some()).collect();
        assert_eq!(labelled, [99], "the first that has room, and not the next one once more");
    }

    #[test]
    fn more_overlapping_bars_than_rows_with_labels_are_all_drawn() {
        let wanted: Vec<_> = (0..20).map(|index| ((200.0 + f64::from(index), 1_250.0), "slow")).collect();
        let bars = place(&wanted, ROOM);
        assert_apart(&bars);
        assert_eq!((rows(&bars), bars.len()), (20, 20));
    }
}
