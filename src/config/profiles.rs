//! Spring's profiles, as far as they decide which documents and files count.

/// `a, b`, `!a`, `a & !b`, `a | b`. `None` where the expression uses what is not understood here (parentheses).
pub(super) fn matches(expression: &str, active: &[String]) -> Option<bool> {
    if expression.contains(['(', ')']) {
        return None;
    }
    let one = |term: &str| {
        let term = term.trim();
        match term.strip_prefix('!') {
            Some(name) => !active.iter().any(|a| a == name.trim()),
            None => active.iter().any(|a| a == term),
        }
    };
    Some(expression.split([',', '|']).any(|any| any.split('&').all(one)))
}

/// `SPRING_PROFILES_ACTIVE`, or what Spinnaker's services take without it.
pub(super) fn active(variable: Option<&str>) -> Vec<String> {
    let Some(text) = variable.filter(|v| !v.trim().is_empty()) else { return vec!["local".to_owned()] };
    text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_judged_as_spring_does() {
        let active = ["local".to_owned(), "sql".to_owned()];
        for (expression, expected) in
            [("local", true), ("prod", false), ("prod, sql", true), ("!prod", true), ("local & !sql", false), ("prod | local & sql", true)]
        {
            assert_eq!(matches(expression, &active), Some(expected), "{expression}");
        }
        assert_eq!(matches("(a | b) & c", &active), None);
    }
}
