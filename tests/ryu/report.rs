//! Reading what the tester prints, and holding it against what is expected.

use std::collections::BTreeMap;
use std::process::ExitCode;

/// What came of the tests so far.
pub(crate) struct Report {
    /// Tests that cannot pass, and why.
    expected: BTreeMap<String, String>,
    title: String,
    passed: usize,
    /// Name and reason.
    failed: Vec<(String, String)>,
    /// The last test failed, and its reason comes on the next line.
    awaits_reason: bool,
    /// Tests that were expected to fail and passed.
    surprises: Vec<String>,
    /// How many tests the chosen files hold.
    planned: usize,
}

impl Report {
    /// `expected` has a line `title / test # reason` for each test that cannot pass; `planned` tests
    /// are to come.
    pub(crate) fn new(expected: &str, planned: usize) -> Self {
        let rows = expected.lines().filter(|line| !line.starts_with('#'));
        Self {
            expected: rows
                .filter_map(|line| line.rsplit_once(" # "))
                .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
                .collect(),
            title: String::new(),
            passed: 0,
            failed: Vec::new(),
            awaits_reason: false,
            surprises: Vec::new(),
            planned,
        }
    }

    /// Takes a line of the tester; false at the end of the tests.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        if line.starts_with("---") && line.contains("Test end") {
            return false;
        }
        let indented = line.starts_with("    ");
        let verdict = line.trim_end().rsplit_once(' ').filter(|_| indented);
        if self.awaits_reason && line.starts_with("        ") {
            self.awaits_reason = false;
            if let Some((name, reason)) = self.failed.last_mut() {
                *reason = line.trim().to_owned();
                if !self.expected.contains_key(name) {
                    println!("FAIL {name}\n     {reason}");
                }
            }
            return true;
        }
        match verdict {
            Some((test, "OK")) => {
                let name = self.name(test);
                self.passed += 1;
                if self.expected.contains_key(&name) {
                    println!("SURPRISE {name} passes");
                    self.surprises.push(name);
                } else {
                    println!("PASS {name}");
                }
            }
            Some((test, "ERROR")) => {
                let name = self.name(test);
                self.failed.push((name, String::new()));
                self.awaits_reason = true;
            }
            _ if !indented && !line.is_empty() && !line.starts_with("---") => {
                self.title = line.trim().to_owned();
            }
            _ => {}
        }
        true
    }

    fn name(&self, test: &str) -> String {
        let test = test.trim().trim_start_matches(['.', ' ']);
        format!("{} / {test}", self.title)
    }

    /// Says what came of it all.
    pub(crate) fn finish(self) -> ExitCode {
        let expected = |(name, _): &&(String, String)| self.expected.contains_key(name);
        let known = self.failed.iter().filter(expected).count();
        println!();
        for (name, reason) in self.failed.iter().filter(|row| !expected(row)) {
            println!("failed: {name}: {reason}");
        }
        for name in &self.surprises {
            println!("passed though expected.txt says it cannot: {name}");
        }
        let ran = self.passed + self.failed.len();
        if ran != self.planned {
            println!("the tester ended after {ran} of {} tests", self.planned);
        }
        let good = ran == self.planned && self.failed.len() == known && self.surprises.is_empty();
        println!(
            "test result: {}. {} passed; {} failed; {known} of these as expected",
            if good { "ok" } else { "FAILED" },
            self.passed,
            self.failed.len(),
        );
        if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
