//! Suggestions for a misspelt word.
//!
//! Invariant: a suggestion is one edit away for every three letters, at most; a wrong one is worse
//! than none.

/// The candidate nearest to the `written` word, if one is near enough.
pub fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let folded = written.to_lowercase();
    candidates
        .map(|candidate| (distance(&folded, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().min(written.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed, replaced or swapped with their neighbour, of the first 64.
fn distance(from: &str, to: &str) -> usize {
    let begin = |text: &str| text.chars().take(64).collect::<String>();
    strsim::osa_distance(&begin(from), &begin(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let fields = ["image", "imagePullPolicy", "name", "workingDir", "env", "args", "command", "tty"];
        for (written, meant) in [
            ("imagePulPolicy", Some("imagePullPolicy")),
            ("imagepullpolicy", Some("imagePullPolicy")),
            ("iamge", Some("image")),
            ("workingdir", Some("workingDir")),
            ("workdir", Some("workingDir")),
            ("nmae", Some("name")),
            ("cmd", None),
            ("replicas", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, fields.into_iter()), meant, "{written}");
        }
    }
}
