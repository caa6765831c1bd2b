//! `flyball propose`: a change that no advisor has found. It only asks; what is proposed goes the way of every suggestion.

use serde_json::{Map, Value, json};

use super::suggestions::PATH;
use super::{Context, caches, hint, print, show};
use crate::api::problem::Problem;
use crate::api::steering::Suggestion;
use crate::args::ProposeArgs;
use crate::config::Output;
use crate::error::Error;
use crate::text::{clean, size, units};

/// Proposes it, and prints what it became.
///
/// # Errors
/// When the flags make no change, or the collector cannot be reached or refuses it.
pub(crate) async fn run(context: &Context, args: &ProposeArgs) -> Result<(), Error> {
    let mut body = wish(args).map_err(Error::Usage)?;
    let (targets, _) = sorted(args);
    let targets = caches::target_ids(context, &targets).await?;
    match targets.as_slice() {
        [one] => body.insert("target".to_owned(), json!(one)),
        several => body.insert("targets".to_owned(), json!(several)),
    };
    let answer = context.client.post(PATH, &Value::Object(body)).await;
    let answer = answer.map_err(|error| told(error, args))?;
    if context.output == Output::Json {
        return print(&answer);
    }
    let made: Suggestion = context.client.parse(&answer)?;
    print(&show::suggestion(context.screen, &made, units::now_ms()))?;
    hint("nothing has changed yet: it waits for `flyball confirm`");
    Ok(())
}

/// Targets, and what they are to have: each has a `=`, and no target has.
fn sorted(args: &ProposeArgs) -> (Vec<&str>, Vec<&str>) {
    let words = args.words.iter().map(String::as_str);
    let (change, more): (Vec<&str>, Vec<&str>) = words.partition(|word| word.contains('='));
    ([vec![args.target.as_str()], more].concat(), change)
}

/// The body, but for the targets.
fn wish(args: &ProposeArgs) -> Result<Map<String, Value>, String> {
    let mut believed = Vec::new();
    for text in &args.from {
        believed.push(setting(text)?);
    }
    let (targets, texts) = sorted(args);
    if texts.is_empty() {
        return Err(no_setting(targets.last().copied().unwrap_or_default()));
    }
    let mut change = Vec::new();
    for text in texts {
        let (parameter, to) = setting(text)?;
        let from = believed.iter().position(|(name, _)| *name == parameter);
        let mut one = json!({"parameter": parameter, "to": to});
        if let Some(at) = from {
            one["from"] = json!(believed.swap_remove(at).1);
        }
        change.push(one);
    }
    if let Some((name, _)) = believed.first() {
        let name = clean(name);
        return Err(format!("--from tells of {name}, which is not to be changed or named twice"));
    }
    let mut body = Map::from_iter([("change".to_owned(), json!(change))]);
    if let Some(text) = &args.expect {
        body.insert("prediction".to_owned(), expected(text)?);
    }
    if let Some(title) = &args.title {
        body.insert("title".to_owned(), json!(title));
    }
    body.insert("note".to_owned(), json!(args.note));
    Ok(body)
}

fn no_setting(text: &str) -> String {
    format!("{} is no PARAMETER=VALUE, like maxmemory=128mb", clean(text))
}

/// Name and value of `maxmemory=128mb`: a size in bytes, anything else as it is.
fn setting(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let Some((name, value)) = pair else {
        return Err(no_setting(text));
    };
    if name != "maxmemory" {
        return Ok((name.to_owned(), value.to_owned()));
    }
    match size::parse(value) {
        Some(bytes) => Ok((name.to_owned(), bytes.to_string())),
        None => Err(format!("{} is no size; write 128mb, 1gb or a number of bytes", clean(value))),
    }
}

/// `92%` or `0.92`, or the interval `90%..94%`, whose middle is the most likely.
fn expected(text: &str) -> Result<Value, String> {
    let wrong = || {
        let text = clean(text);
        format!("--expect {text} is no hit ratio: write 92%, 0.92, or an interval like 90%..94%")
    };
    if let Some((low, high)) = text.split_once("..") {
        let (low, high) = share(low).zip(share(high)).ok_or_else(wrong)?;
        let after = f64::midpoint(low, high);
        return Ok(json!({"after": after, "low": low, "high": high}));
    }
    let after = share(text).ok_or_else(wrong)?;
    Ok(json!({ "after": after }))
}

fn share(text: &str) -> Option<f64> {
    let text = text.trim();
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&value).then_some(value)
}

/// A refusal in the words of the command line: its parameters and flags, not the fields of the body.
fn told(error: Error, args: &ProposeArgs) -> Error {
    match error {
        Error::Api(problem) if problem.status == 404 => Error::NotFound(format!(
            "{}; `flyball caches` lists what can be changed",
            clean(&problem.detail)
        )),
        Error::Api(problem) => Error::Api(Box::new(in_flags(*problem, &sorted(args).1))),
        other => other,
    }
}

fn in_flags(mut problem: Problem, change: &[&str]) -> Problem {
    for error in &mut problem.errors {
        let index = error.field.strip_prefix("change[").and_then(|rest| rest.split_once(']'));
        let index = index.and_then(|(index, _)| index.parse::<usize>().ok());
        if let Some(text) = index.and_then(|index| change.get(index)) {
            text.split('=').next().unwrap_or_default().clone_into(&mut error.field);
        } else if error.field.starts_with("prediction") {
            "--expect".clone_into(&mut error.field);
        } else if error.field == "targets" {
            "TARGET".clone_into(&mut error.field);
        }
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::FieldProblem;

    fn args(change: &[&str], from: &[&str], expect: Option<&str>) -> ProposeArgs {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        ProposeArgs {
            target: "sessions".to_owned(),
            words: texts(change),
            from: texts(from),
            expect: expect.map(str::to_owned),
            title: None,
            note: "why".to_owned(),
        }
    }

    #[test]
    fn the_flags_are_the_body() {
        let args = args(
            &["maxmemory=128mb", "maxmemory-policy=allkeys-lfu"],
            &["maxmemory=64 MiB"],
            Some("50%..100%"),
        );
        let body = wish(&args).unwrap();
        let expected = json!({
            "change": [
                {"parameter": "maxmemory", "from": "67108864", "to": "134217728"},
                {"parameter": "maxmemory-policy", "to": "allkeys-lfu"},
            ],
            "prediction": {"after": 0.75, "low": 0.5, "high": 1.0},
            "note": "why",
        });
        assert_eq!(Value::Object(body), expected);
    }

    #[test]
    fn words_without_a_value_are_more_targets() {
        let several =
            args(&["redis:web-2:sessions", "maxmemory=128mb", "redis:*:carts"], &[], None);
        let (targets, change) = sorted(&several);
        assert_eq!(targets, ["sessions", "redis:web-2:sessions", "redis:*:carts"]);
        assert_eq!(change, ["maxmemory=128mb"]);
        assert_eq!(wish(&several).unwrap()["change"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn what_makes_no_change_is_told_before_anything_is_asked() {
        for (change, from, expect, words) in [
            ("maxmemory", "", None, "no PARAMETER=VALUE"),
            ("=1", "", None, "no PARAMETER=VALUE"),
            ("maxmemory=", "", None, "no PARAMETER=VALUE"),
            ("maxmemory=a lot", "", None, "a lot is no size"),
            ("maxmemory=1mb", "save=x", None, "--from tells of save"),
            ("maxmemory=1mb", "maxmemory=x", None, "x is no size"),
            ("maxmemory=1mb", "", Some("92"), "--expect 92 is no hit ratio"),
            ("maxmemory=1mb", "", Some("90%..x"), "--expect 90%..x"),
            ("maxmemory=1mb", "", Some("NaN"), "--expect NaN"),
        ] {
            let from: &[&str] = if from.is_empty() { &[] } else { &[from] };
            let why = wish(&args(&[change], from, expect)).unwrap_err();
            assert!(why.contains(words), "{change}: {why}");
        }
    }

    #[test]
    fn a_share_is_a_ratio_or_percent() {
        assert_eq!(expected("92%").unwrap(), json!({"after": 0.92}));
        assert_eq!(expected("0.5").unwrap(), json!({"after": 0.5}));
        assert_eq!(expected("0 % .. 100 %").unwrap()["after"], json!(0.5));
    }

    #[test]
    fn a_refusal_names_parameters_and_flags() {
        let error = |field: &str| FieldProblem { field: field.into(), reason: "no".into() };
        let fields = ["change[1].to", "change[9].to", "prediction.low", "note", "targets"];
        let problem =
            Problem { errors: fields.map(error).to_vec(), status: 400, ..Problem::default() };
        let told = in_flags(problem, &["maxmemory=1", "save=x"]);
        let told: Vec<_> = told.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(told, ["save", "change[9].to", "--expect", "note", "TARGET"]);
    }
}
