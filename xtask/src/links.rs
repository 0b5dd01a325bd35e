//! Every relative link in a document leads to something that is there.
//!
//! Reads the Markdown files that git knows or would add. Knows inline links and images outside
//! code blocks, `[text](target)`; that is all our documents use.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::tools;

/// Checks all documents below `root`.
pub(crate) fn check(root: &Path) -> Result<()> {
    let files = tools::git(&[
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        "*.md",
    ])
    .context("the documents are listed with git, and git does not answer")?;
    let mut broken = Vec::new();
    for name in files.lines() {
        let file = root.join(name);
        let Ok(text) = std::fs::read_to_string(&file) else {
            // Listed in the index but deleted in the work tree.
            continue;
        };
        let directory = file.parent().unwrap_or(root);
        for target in targets(&text) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !directory.join(path).exists() {
                broken.push(format!("{name}: {target} is not there"));
            }
        }
    }
    ensure!(
        broken.is_empty(),
        "broken links:\n  {}",
        broken.join("\n  ")
    );
    Ok(())
}

/// The targets of a document's links, without those that leave the project.
fn targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, tail)) = after.split_once(')') else {
                break;
            };
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.split_whitespace().next().unwrap_or_default());
            }
            rest = tail;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::targets;

    #[test]
    fn relative_targets_are_found_and_others_left_alone() {
        let text = "See [a](docs/a.md#part) and ![p](p.svg \"title\"), [web](https://example.org/).\n\
                    ```\n[not](code.md)\n```\n[b](b.md)";
        assert_eq!(targets(text), ["docs/a.md#part", "p.svg", "b.md"]);
    }
}
