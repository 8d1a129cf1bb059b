use super::*;

async fn scope(work: impl AsyncFnOnce(&mut Vec<String>) -> Result<()>) -> (Vec<String>, Option<Result<()>>) {
    let mut done = Vec::new();
    let take_back = async |done: &mut Vec<String>, error: anyhow::Error| {
        done.push(format!("taken back: {error}"));
        error.context("told")
    };
    let outcome = AssertUnwindSafe(or_take_back(&mut done, work, take_back)).catch_unwind().await.ok();
    (done, outcome)
}

#[tokio::test(flavor = "current_thread")]
async fn what_fails_or_panics_is_taken_back_and_a_panic_goes_on() {
    let (done, outcome) = scope(async |_| Ok(())).await;
    assert!(done.is_empty() && outcome.unwrap().is_ok());

    let (done, outcome) = scope(async |_| Err(anyhow!("no"))).await;
    assert_eq!(
        (done, outcome.unwrap().unwrap_err().to_string()),
        (vec!["taken back: no".to_owned()], "told".into())
    );

    let (done, outcome) = scope(async |done| {
        done.push("begun".to_owned());
        tokio::task::yield_now().await;
        panic!("in the middle")
    })
    .await;
    assert_eq!(done, ["begun", "taken back: internal error"]);
    assert!(outcome.is_none(), "the panic went on");
}
