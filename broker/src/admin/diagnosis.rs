//! Findings as they are sent to operators.

use sallyport_proto::admin as proto;

use crate::doctor::{Finding, Verdict};

pub(super) fn finding(finding: Finding) -> proto::Finding {
    let Finding { check, verdict, told, remedy } = finding;
    let verdict = match verdict {
        Verdict::Good => proto::finding::Verdict::Good,
        Verdict::Warning => proto::finding::Verdict::Warning,
        Verdict::Bad => proto::finding::Verdict::Bad,
    };
    proto::Finding { check, verdict: verdict.into(), told, remedy }
}
