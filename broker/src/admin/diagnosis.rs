//! Findings as they are sent to operators.

use sallyport_proto::admin as proto;

use crate::doctor::{Finding, Verdict};

pub(super) fn finding(finding: Finding) -> proto::Finding {
    let verdict = match finding.verdict() {
        Verdict::Good => proto::finding::Verdict::Good,
        Verdict::Warning => proto::finding::Verdict::Warning,
        Verdict::Bad => proto::finding::Verdict::Bad,
    };
    let remedy = finding.remedy().unwrap_or_default().to_owned();
    proto::Finding { check: finding.check, verdict: verdict.into(), told: finding.told, remedy }
}
