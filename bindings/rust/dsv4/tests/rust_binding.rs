//! What the Rust binding adds to the header: ownership, errors, iterators, panics; and that every call of the header is
//! reached. What the calls do is tested by the library's own tests.

use dsv4::*;
use std::io::{self, Read, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::time::Duration;
use std::{fs, thread};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../samples/models/tiny")
}

fn tiny() -> Model {
    Model::open_with(folder(), ModelOptions::new().backend("cpu").threads(1)).unwrap()
}

fn greedy() -> GenerateOptions {
    GenerateOptions::new().temperature(0.0).reasoning(Reasoning::None).max_tokens(100)
}

fn asked(model: &Model, question: &str) -> Session {
    let mut session = model.session_with(&SessionOptions::new().context(512)).unwrap();
    session.append(Role::User, question).unwrap();
    session
}

fn content(session: &mut Session, options: &GenerateOptions) -> String {
    let mut text = String::new();
    for event in session.generate(options).unwrap() {
        if let Event::Content(piece) = event.unwrap() {
            text += &piece;
        }
    }
    text
}

fn panics(body: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(body)).expect_err("no panic");
    payload.downcast_ref::<&str>().map(|s| s.to_string()).unwrap_or_default()
}

// -------------------------------------------------------------------------------------------------- types, errors

#[test]
fn what_may_move_between_threads_does() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<Model>();
    sync::<Model>();
    send::<Session>();
    send::<CancelHandle>();
    sync::<CancelHandle>();
    send::<Conversation>();
    send::<Parser>();
    send::<GenerateOptions>();
    sync::<GenerateOptions>();
    send::<Error>();
    sync::<Error>();
    let model = tiny();
    let mut session = asked(&model, "Hello!");
    drop(model); // the session keeps it
    let text = thread::spawn(move || content(&mut session, &greedy())).join().unwrap();
    assert!(text.starts_with("Hello"));
}

#[test]
fn errors_say_what_and_where() {
    let error = Model::open("no/such/folder").unwrap_err();
    assert!(matches!(error, Error::NotFound(_)));
    assert!(error.message().contains("no/such/folder"));
    assert!(error.to_string().starts_with("DSV4_E_NOT_FOUND: "));
    assert_eq!(error.status(), sys::DSV4_E_NOT_FOUND);
    assert!(matches!(Model::open("a\0b"), Err(Error::InvalidArgument(_))));
    assert!(matches!(Conversation::from_json("[{]"), Err(Error::InvalidArgument(_))));
    assert_eq!(Done::ToolCalls.name(), "tool_calls");
}

#[test]
fn version_and_build() {
    assert!(version() >= 1000);
    assert!(build_info().unwrap().backends.contains("cpu"));
}

// ---------------------------------------------------------------------------------------------------------- model

#[test]
fn a_model_tells_what_it_is_logs_and_reports_progress() {
    let (logged, looked_at) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (log, progress) = (logged.clone(), looked_at.clone());
    let options = ModelOptions::new()
        .backend("cpu")
        .threads(1)
        .profile(Profile::Preview)
        .verify(true)
        .time_verbs(true)
        .max_step_rows(64)
        .log(move |level, text| {
            assert!(level >= LogLevel::Info && !text.is_empty());
            log.fetch_add(1, Ordering::Relaxed);
        })
        .progress(move |done, total| {
            progress.store(done as usize, Ordering::Relaxed);
            done <= total
        });
    let model = Model::open_with(folder(), options).unwrap();
    assert!(logged.load(Ordering::Relaxed) > 0 && looked_at.load(Ordering::Relaxed) > 0);
    let info = model.info().unwrap();
    assert_eq!((info.layers, info.has_tokenizer, info.profile), (4, true, Profile::Preview));
    assert_eq!(info.reasoning_modes, [Reasoning::None, Reasoning::High, Reasoning::Max]);
    assert_eq!(model.layer_info(1, 256).unwrap().ratio, 4);
    assert!(matches!(model.layer_info(99, 0), Err(Error::InvalidArgument(_))));

    content(&mut asked(&model, "Hello!"), &greedy());
    assert!(model.verb_times().unwrap().iter().any(|v| v.verb == "experts" && v.calls > 0));
    model.clear_verb_times().unwrap();
    assert!(model.verb_times().unwrap().is_empty());
    assert!(matches!(tiny().verb_times(), Err(Error::InvalidArgument(_))));
    match model.matrix_peak() {
        Ok(peak) => assert!(peak > 0.0),
        Err(e) => assert!(matches!(e, Error::Unsupported(_))),
    }
    let given_up = Model::open_with(folder(), ModelOptions::new().backend("cpu").progress(|_, _| false));
    assert!(matches!(given_up, Err(Error::Cancelled(_))));
}

#[test]
fn an_estimate_and_what_only_synthetic_models_do() {
    let estimate = Model::estimate(folder(), 1024, &ModelOptions::new().backend("cpu")).unwrap();
    assert!(estimate.state_bytes > 0 && estimate.fits);
    assert!(Model::open_synthetic("medium", 1, 1, ModelOptions::new()).is_err());
    assert!(matches!(asked(&tiny(), "Hello!").pretend(10), Err(Error::Unsupported(_))));
    assert!(matches!(tiny().copy_peak(), Err(Error::Unsupported(_))));
}

#[test]
fn text_becomes_tokens_and_back() {
    let model = tiny();
    let ids = model.tokenize("Hello, wörld!").unwrap();
    assert_eq!(model.detokenize(&ids).unwrap(), "Hello, wörld!".as_bytes());
    assert!(model.tokenize("").unwrap().is_empty());
    let control = model.tokenize_special("<｜User｜>").unwrap();
    assert_eq!(control.len(), 1);
    assert!(model.tokenize("<｜User｜>").unwrap().len() > 1);
    assert!(model.detokenize(&control).unwrap().is_empty());
    assert_eq!(model.detokenize_special(&control).unwrap(), "<｜User｜>".as_bytes());
}

#[test]
fn conversations_are_built_read_as_json_and_rendered() {
    let model = tiny();
    let mut conversation = Conversation::new().unwrap();
    conversation.add(Role::System, "Answer briefly.").unwrap();
    conversation.append_json(r#"{"role": "user", "content": "Hello!"}"#).unwrap();
    assert_eq!(conversation.len().unwrap(), 2);
    assert!(conversation.message_json(1).unwrap().contains("Hello!"));
    let mut again = Conversation::from_json(&conversation.json().unwrap()).unwrap();
    let prompt = model.render(&again, &RenderOptions::new().reasoning(Reasoning::None)).unwrap();
    assert!(prompt.contains("Answer briefly."));
    let ids = model.render_tokens(&again, &RenderOptions::new()).unwrap();
    assert_eq!(ids, model.tokenize_special(&prompt).unwrap());
    let low = RenderOptions::new().profile(Profile::Preview).reasoning(Reasoning::Low);
    assert!(matches!(model.render(&again, &low), Err(Error::Unsupported(_))));
    let call = r#"{"role": "assistant", "tool_calls": [{"id": "c1", "type": "function",
        "function": {"name": "get_weather", "arguments": "{}"}}]}"#;
    again.append_json(call).unwrap();
    again.add_tool_result("c1", "{}").unwrap();
    assert!(again.message_json(3).unwrap().contains("c1"));
    assert!(format!("{again:?}").contains("c1"));
}

// -------------------------------------------------------------------------------------------------------- session

const WEATHER: &str = r#"{"messages": [], "tools": [{"type": "function", "function": {"name": "get_weather",
  "description": "Get the weather in a city", "parameters": {"type": "object",
  "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]}"#;

#[test]
fn by_messages_with_a_tool() {
    let mut session = tiny().session().unwrap();
    session.set_conversation(&Conversation::from_json(WEATHER).unwrap()).unwrap();
    session.append_json(r#"{"role": "user", "content": "What is the weather in Paris?"}"#).unwrap();
    let (mut pieces, mut calls, mut begun) = (String::new(), Vec::new(), 0);
    let stats = session.generate_with(&greedy(), |event| {
        match event {
            Event::ToolCallBegin(call) => begun += (call.name == "get_weather") as i32,
            Event::ToolArguments { text, .. } => pieces += &text,
            Event::ToolCall(call) => calls.push(call),
            _ => {}
        }
        Answer::Continue
    });
    let stats = stats.unwrap();
    assert_eq!((stats.reason, stats.tool_calls, begun), (Done::ToolCalls, 1, 1));
    assert_eq!(calls[0].arguments, pieces);
    session.append_tool_result(&calls[0].id, r#"{"temperature": 21, "condition": "sunny"}"#).unwrap();
    assert!(content(&mut session, &greedy()).contains("21 degrees"));
    assert_eq!(session.conversation().unwrap().len().unwrap(), 4);
}

#[test]
fn by_tokens() {
    let model = tiny();
    let options = SessionOptions::new().draft(true).prefill_chunk(8).checkpoints(2);
    let mut session = model.session_with(&options).unwrap();
    let ids = model.tokenize("Hello there").unwrap();
    let vocab = model.info().unwrap().vocab as usize;
    let (mut rows, mut draft, mut seen) = (Vec::new(), Vec::new(), 0);
    let options = EvalOptions::new().logits(&mut rows).draft_logits(&mut draft).progress(|done, _| {
        seen = done;
        true
    });
    session.eval_with(&ids, options).unwrap();
    assert_eq!((rows.len(), draft.len(), seen), (ids.len() * vocab, ids.len() * vocab, ids.len() as u64));
    assert_eq!(session.logits().unwrap(), rows[rows.len() - vocab..]);
    session.rewind(1).unwrap();
    assert_eq!(session.tokens().unwrap(), ids[..1]);
    session.append_tokens(&ids[1..]).unwrap();
    session.sync_tokens(&ids).unwrap();
    session.eval(&[]).unwrap();
    let info = session.info().unwrap();
    assert_eq!((info.evaluated, info.driven), (ids.len() as u64, Driven::ByTokens));
    session.clear().unwrap();
    assert!(session.tokens().unwrap().is_empty());
    assert!(matches!(session.append_tokens(&[-1]), Err(Error::InvalidArgument(_))));
    let panicked = panics(|| session.eval_with(&ids, EvalOptions::new().progress(|_, _| panic!("mine"))).unwrap());
    assert_eq!(panicked, "mine");
    session.eval(&[]).unwrap();
}

#[test]
fn every_option_reaches_the_library() {
    let model = tiny();
    let mut session = asked(&model, "Hello!");
    for wrong in [
        greedy().top_p(-1.0),
        greedy().min_p(2.0),
        greedy().top_k(-1),
        greedy().temperature(-1.0),
        greedy().repetition_penalty(-1.0),
        greedy().presence_penalty(3.0),
        greedy().frequency_penalty(3.0),
        greedy().logit_bias(-1, 0.0),
        greedy().top_logprobs(21),
        greedy().stop(""),
        greedy().stop("a\0b"),
        greedy().ebnf("root ::= ("),
        greedy().json_schema("{"),
        greedy().resume(true),
        greedy().tool_named("no_such_tool"),
        greedy().tools_required(),
    ] {
        let result = session.generate_with(&wrong, |_| Answer::Continue);
        assert!(matches!(result, Err(Error::InvalidArgument(_))), "{wrong:?}: {result:?}");
    }
    assert_eq!(content(&mut session, &greedy().stop("can I").tools_auto().penalty_window(4)), "Hello! How ");
    assert_eq!(content(&mut asked(&model, "Hello!"), &greedy().regex("[0-9]{3}").tools_none()).len(), 3);
    let hello = model.tokenize("Hello").unwrap()[0];
    let other = content(&mut asked(&model, "Hello!"), &greedy().logit_bias(hello, f32::NEG_INFINITY));
    assert!(!other.starts_with("Hello"));
    let braces = content(&mut asked(&model, "Hello!"), &greedy().json());
    assert!(braces.starts_with('{'));
}

#[test]
fn tokens_reasoning_and_statistics() {
    let model = tiny();
    let mut session = asked(&model, "What is 12 plus 34?");
    let (mut reasoning, mut answer, mut tokens, mut last) = (String::new(), String::new(), 0, None);
    let options = greedy().reasoning(Reasoning::High).reasoning_budget(60).top_logprobs(3);
    let mut generation = session.generate(&options).unwrap();
    for event in generation.by_ref() {
        match event.unwrap() {
            Event::Reasoning(text) => reasoning += &text,
            Event::Content(text) => answer += &text,
            Event::Token(token) => {
                assert!(token.logprob <= 0.0 && !token.forced);
                assert_eq!((token.top.len(), token.top[0].token), (3, token.token));
                tokens += 1;
            }
            Event::Done { stats, .. } => last = stats,
            _ => {}
        }
    }
    let stats = generation.finish().unwrap();
    assert!(reasoning.contains("Result 46"));
    assert_eq!(answer, "12+34=46.");
    assert_eq!(stats.generated_tokens, tokens);
    assert_eq!(stats.reasoning, Reasoning::High);
    assert_eq!(Some(stats), last);
}

#[test]
fn a_fork_goes_its_own_way() {
    let mut trunk = asked(&tiny(), "My name is Emma.");
    content(&mut trunk, &greedy());
    let mut branch = trunk.fork().unwrap();
    branch.append(Role::User, "What is my name?").unwrap();
    assert_eq!(content(&mut branch, &greedy()), "Your name is Emma.");
    assert!(trunk.tokens().unwrap().len() < branch.tokens().unwrap().len());
}

// ------------------------------------------------------------------------------------------------ turns in all ways

#[test]
fn a_generation_that_is_dropped_gives_its_session_back() {
    let mut session = asked(&tiny(), "What can you do?");
    for event in session.generate(&greedy()).unwrap() {
        if let Event::Content(_) = event.unwrap() {
            break;
        }
    }
    session.append(Role::User, "Hello!").unwrap(); // Busy, were the turn still there
    drop(session.generate(&greedy()).unwrap());
    assert!(content(&mut session, &greedy()).len() > 4);
}

#[test]
fn a_generation_is_answered_cancelled_finished() {
    let model = tiny();
    let mut session = asked(&model, "What can you do?");
    let mut generation = session.generate(&greedy()).unwrap();
    generation.next().unwrap().unwrap();
    generation.answer(Answer::Stop);
    // It may have come to its end by then.
    assert!(matches!(generation.finish().unwrap().reason, Done::Host | Done::Stop));

    let mut session = asked(&model, "What can you do?");
    let generation = session.generate(&greedy()).unwrap();
    generation.cancel();
    assert!(matches!(generation.finish().unwrap().reason, Done::Cancelled | Done::Stop));
}

#[test]
fn what_stops_a_generation_is_an_error() {
    let mut session = tiny().session_with(&SessionOptions::new().context(16)).unwrap();
    let nothing = session.generate(&greedy()).and_then(|g| g.finish());
    assert!(matches!(nothing, Err(Error::InvalidArgument(_))));
    session.append(Role::User, &"one two three four ".repeat(5)).unwrap();
    let mut generation = session.generate(&greedy()).unwrap();
    let mut errors = generation.by_ref().filter_map(|e| e.err());
    assert!(matches!(errors.next(), Some(Error::ContextFull(_))));
    assert!(generation.next().is_none());
    assert!(generation.finish().is_err());
}

#[test]
fn a_session_that_is_forgotten_in_a_turn_is_busy() {
    let mut session = asked(&tiny(), "What can you do?");
    std::mem::forget(session.generate(&greedy()).unwrap());
    assert!(matches!(session.clear(), Err(Error::Busy(_))));
}

#[test]
fn start_and_poll() {
    let mut session = asked(&tiny(), "Hello!");
    let early = session.poll(1, Duration::ZERO, |_| Answer::Continue);
    assert!(matches!(early, Err(Error::InvalidArgument(_))));
    session.start(&greedy()).unwrap();
    let (mut done, mut events, mut delivered) = (false, 0, 0);
    while !done {
        delivered += session
            .poll(2, Duration::from_millis(100), |event| {
                events += 1;
                done = matches!(event, Event::Done { .. });
                Answer::Continue
            })
            .unwrap();
    }
    assert_eq!(events, delivered);
}

#[test]
fn cancel_from_another_thread() {
    let mut session = asked(&tiny(), "What can you do?");
    let handle = session.cancel_handle();
    let (begun, begin) = mpsc::channel();
    let over = Arc::new(AtomicBool::new(false));
    let (cancelled, other_handle) = (over.clone(), handle.clone());
    let other = thread::spawn(move || {
        begin.recv().unwrap();
        other_handle.cancel();
        cancelled.store(true, Ordering::Release);
    });
    let result = session.generate_with(&greedy(), |event| {
        if let (Event::Content(_), false) = (event, over.load(Ordering::Acquire)) {
            begun.send(()).unwrap();
            while !over.load(Ordering::Acquire) {
                thread::yield_now();
            }
        }
        Answer::Continue
    });
    other.join().unwrap();
    assert!(matches!(result, Err(Error::Cancelled(_))));
    drop(session);
    handle.cancel(); // of a session that is gone
}

#[test]
fn a_panic_in_a_closure_ends_the_call_and_goes_on() {
    let mut session = asked(&tiny(), "What can you do?");
    let mut calls = 0;
    let panicked = panics(|| {
        let _ = session.generate_with(&greedy(), |event| {
            calls += 1;
            match event {
                Event::Content(_) => panic!("in an event"),
                _ => Answer::Continue,
            }
        });
    });
    assert_eq!(panicked, "in an event");
    assert!(calls > 0);
    // Taken back: the question waits for its answer.
    assert_eq!(session.conversation().unwrap().len().unwrap(), 1);
    let panicked = panics(|| {
        let _ = session.generate_with_logits(&greedy(), |_| Answer::Continue, |_| panic!("at the logits"));
    });
    assert_eq!(panicked, "at the logits");
    session.append(Role::User, "Hello!").unwrap();
    session.start(&greedy()).unwrap();
    let panicked = panics(|| while session.poll(1, Duration::from_secs(1), |_| panic!("in a poll")).is_ok() {});
    assert_eq!(panicked, "in a poll");
    while !matches!(session.clear(), Ok(())) {
        let _ = session.poll(99, Duration::from_secs(1), |_| Answer::Continue);
    }
    let options = || ModelOptions::new().backend("cpu");
    assert_eq!(panics(|| drop(Model::open_with(folder(), options().log(|_, _| panic!("in the log"))))), "in the log");
    let progress = options().progress(|_, _| panic!("in progress"));
    assert_eq!(panics(|| drop(Model::open_with(folder(), progress))), "in progress");
}

// ------------------------------------------------------------------------------------------------------- snapshots

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::Other, "the disk is on fire"))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("in a reader")
    }
}

/// Gives a byte at a time, and is interrupted before each.
struct Slow<'a>(&'a [u8], bool);

impl Read for Slow<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let take = room.len().min(1);
        self.0.read(&mut room[..take])
    }
}

#[test]
fn snapshots_through_streams_and_files() {
    let model = tiny();
    let mut session = asked(&model, "My name is Emma.");
    content(&mut session, &greedy());
    let mut bytes = Vec::new();
    session.save(&mut bytes, &SnapshotOptions::new().level(3)).unwrap();
    let info = peek(&mut bytes.as_slice()).unwrap();
    assert_eq!(info.tokens, session.tokens().unwrap().len() as u64);
    let mut restored = model.session().unwrap();
    restored.restore(&mut Slow(&bytes, false)).unwrap();
    assert_eq!(restored.tokens().unwrap(), session.tokens().unwrap());

    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rust_binding.dsv4");
    session.save_path(&path, &SnapshotOptions::new().uncompressed(true)).unwrap();
    assert_eq!(peek_path(&path).unwrap().driven, Driven::ByMessages);
    let mut third = model.session().unwrap();
    third.restore_path(&path).unwrap();
    assert_eq!(third.tokens().unwrap(), session.tokens().unwrap());
    fs::remove_file(&path).unwrap();
    assert!(matches!(third.restore_path(&path), Err(Error::NotFound(_))));
    assert!(matches!(third.restore(&mut &b"no snapshot"[..]), Err(Error::Corrupt(_))));
    assert!(matches!(third.restore(&mut &bytes[..bytes.len() / 2]), Err(Error::Corrupt(_))));
    match session.save(&mut Broken, &SnapshotOptions::new()) {
        Err(Error::Stream(e)) => assert_eq!(e.to_string(), "the disk is on fire"),
        other => panic!("{other:?}"),
    }
    assert_eq!(panics(|| third.restore(&mut Broken).unwrap()), "in a reader");
    assert_eq!(third.tokens().unwrap(), session.tokens().unwrap());
}

// ---------------------------------------------------------------------------------------------------------- parser

#[test]
fn a_parser_reads_text_and_tokens() {
    let mut parser = Parser::new(ParserOptions::new().start(Start::Reasoning).stop("END")).unwrap();
    let mut events = parser.push_text("I think.</th").unwrap();
    events.extend(parser.push_text("ink>Answer. END more").unwrap());
    assert!(matches!(parser.push_tokens(&[1]), Err(Error::InvalidArgument(_))));
    events.extend(parser.finish(Done::Stop).unwrap());
    let of = |wanted: fn(&Event) -> Option<&String>| events.iter().filter_map(wanted).cloned().collect::<String>();
    assert_eq!(of(|e| if let Event::Reasoning(t) = e { Some(t) } else { None }), "I think.");
    assert_eq!(of(|e| if let Event::Content(t) = e { Some(t) } else { None }), "Answer. ");
    assert!(matches!(events.last(), Some(Event::Done { reason: Done::StopString, stats: None })));
    assert!(parser.message_json().unwrap().contains("\"Answer. \""));

    let model = tiny();
    let mut of_tokens = Parser::for_model(&model, ParserOptions::new()).unwrap();
    let mut events = of_tokens.push_tokens(&model.tokenize("Hello").unwrap()).unwrap();
    drop(model);
    events.extend(of_tokens.finish(Done::Length).unwrap());
    assert!(events.contains(&Event::Content("Hello".into())));
}

// ------------------------------------------------------------------------------------------------------- the whole API

#[test]
fn every_call_of_the_header_is_made_somewhere() {
    let mut source = String::new();
    for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        source += &fs::read_to_string(file.unwrap().path()).unwrap();
    }
    // The status of an error comes with the call; a model's clones share one handle.
    let not_needed = ["dsv4_error_status", "dsv4_model_retain"];
    let missing: Vec<_> = sys::ALL_FUNCTIONS
        .iter()
        .map(|f| f.name)
        .filter(|name| !source.contains(&format!("sys::{name}")) && !not_needed.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
