//! The places of many entries, in few words.

/// Most runs of places that are named.
const NAMED: usize = 20;

/// Of indices in order, such as `/3, /7 to /9 and 12 more`.
pub(super) fn places(indices: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for index in indices {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let more: usize = runs.iter().skip(NAMED).map(|(first, last)| last - first + 1).sum();
    let word = |(first, last): &(usize, usize)| if first == last { format!("/{first}") } else { format!("/{first} to /{last}") };
    let named = runs.iter().take(NAMED).map(word).collect::<Vec<_>>().join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_named_by_their_ends_and_thousands_of_places_are_not_all_named() {
        assert_eq!(places(&[3]), "/3");
        assert_eq!(places(&[0, 1, 2, 7, 9, 10]), "/0 to /2, /7, /9 to /10");
        let scattered: Vec<usize> = (0..5_000).map(|n| n * 2).collect();
        assert!(places(&scattered).starts_with("/0, /2, ") && places(&scattered).ends_with("/38 and 4980 more"));
    }
}
