//! The conversation script (`tests/bindings/CONVERSATION.md`) in Rust. Its lines have to be those of
//! `conversation.expected`.

use dsv4::{
    Answer, Conversation, Done, Error, Event, GenerateOptions, Model, ModelOptions, Reasoning, RenderOptions, Result,
    Role, Session, SessionOptions, SnapshotOptions, ToolCall,
};
use std::time::Duration;

const TOOLS: &str = concat!(
    r#"{"messages": [{"role": "system", "content": "You are a helpful assistant."}], "tools": ["#,
    r#"{"type": "function", "function": {"name": "get_weather", "description": "Get the weather in a city","#,
    r#" "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},"#,
    r#"{"type": "function", "function": {"name": "get_time", "description": "Get the time in a city","#,
    r#" "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]}"#
);

fn print(name: &str, ids: &[i32]) {
    let words: String = ids.iter().map(|id| format!(" {id}")).collect();
    println!("{name}:{words}");
}

fn print_timeline(name: &str, session: &Session) -> Result<()> {
    print(name, &session.tokens()?);
    Ok(())
}

fn new_session(model: &Model) -> Result<Session> {
    model.session_with(&SessionOptions::new().context(1024))
}

fn greedy() -> GenerateOptions {
    GenerateOptions::new().temperature(0.0).reasoning(Reasoning::None).max_tokens(100).token_events(true)
}

/// What is kept of a turn.
#[derive(Default)]
struct Turn {
    ids: Vec<i32>,
    call: ToolCall,
    reason: Option<Done>,
}

impl Turn {
    fn keep(&mut self, event: Event) {
        match event {
            Event::Token(token) => self.ids.push(token.token),
            Event::ToolCall(call) => self.call = call,
            Event::Done { reason, .. } => self.reason = Some(reason),
            _ => {}
        }
    }
}

fn generate(session: &mut Session, options: &GenerateOptions) -> Result<Turn> {
    let mut turn = Turn::default();
    for event in session.generate(options)? {
        turn.keep(event?);
    }
    Ok(turn)
}

fn ask(name: &str, session: &mut Session, text: &str) -> Result<()> {
    session.append(Role::User, text)?;
    let turn = generate(session, &greedy())?;
    assert_eq!(turn.reason, Some(Done::Stop));
    print_timeline(name, session)
}

fn step_text(model: &Model) -> Result<()> {
    print("tokenize", &model.tokenize("Hello, wörld!")?);
    let mut conversation = Conversation::new()?;
    conversation.add(Role::System, "Answer briefly.")?;
    conversation.add(Role::User, "Hello!")?;
    let options = RenderOptions::new().reasoning(Reasoning::High);
    print("render", &model.render_tokens(&conversation, &options)?);
    Ok(())
}

fn step_chat(model: &Model) -> Result<()> {
    let mut session = new_session(model)?;
    ask("chat-1", &mut session, "My name is Emma.")?;
    ask("chat-2", &mut session, "What is my name?")
}

fn step_think(model: &Model) -> Result<()> {
    let mut session = new_session(model)?;
    session.append(Role::User, "What is 12 plus 34?")?;
    print("think", &generate(&mut session, &greedy().reasoning(Reasoning::High))?.ids);
    Ok(())
}

fn step_tools(model: &Model) -> Result<()> {
    let mut session = new_session(model)?;
    session.set_conversation(&Conversation::from_json(TOOLS)?)?;
    session.append(Role::User, "What is the weather in Paris?")?;
    let turn = generate(&mut session, &greedy())?;
    assert_eq!(turn.reason, Some(Done::ToolCalls));
    assert_eq!(turn.call.name, "get_weather");
    assert!(turn.call.arguments.contains("\"Paris\""));
    print("tool-call", &turn.ids);
    session.append_tool_result(&turn.call.id, r#"{"temperature": 21, "condition": "sunny"}"#)?;
    print("tool-answer", &generate(&mut session, &greedy())?.ids);
    print_timeline("tool-timeline", &session)
}

fn step_snapshot(model: &Model) -> Result<()> {
    let (mut saved, mut restored) = (new_session(model)?, new_session(model)?);
    let mut bytes = Vec::new();
    ask("saved", &mut saved, "I live in Oslo.")?;
    saved.save(&mut bytes, &SnapshotOptions::new())?;
    restored.restore(&mut bytes.as_slice())?;
    print_timeline("restored", &restored)?;
    ask("saved-next", &mut saved, "Where do I live?")?;
    ask("restored-next", &mut restored, "Where do I live?")
}

fn step_fork(model: &Model) -> Result<()> {
    let mut trunk = new_session(model)?;
    ask("trunk", &mut trunk, "I have a cat called Luna.")?;
    let mut branch = trunk.fork()?;
    ask("fork-a", &mut trunk, "What is my cat called?")?;
    drop(trunk); // the branch stands by itself
    ask("fork-b", &mut branch, "Repeat: river moon table")
}

/// Generates until the third token, to which `third()` is the answer.
fn until_third(session: &mut Session, third: impl Fn() -> Answer) -> (Option<Done>, Result<()>) {
    let (mut count, mut why) = (0, None);
    let result = session.generate_with(&greedy(), |event| {
        if let Event::Done { reason, .. } = event {
            why = Some(reason);
        }
        count += matches!(event, Event::Token(_)) as i32;
        if matches!(event, Event::Token(_)) && count == 3 {
            third()
        } else {
            Answer::Continue
        }
    });
    (why, result.map(drop))
}

fn step_cancel(model: &Model) -> Result<()> {
    let mut session = new_session(model)?;
    let resume = greedy().resume(true);

    session.append(Role::User, "What can you do?")?;
    assert_eq!(until_third(&mut session, || Answer::Stop).0, Some(Done::Host));
    print_timeline("stop", &session)?;
    generate(&mut session, &resume)?;
    print_timeline("stop-resumed", &session)?;

    session.append(Role::User, "Who are you?")?;
    assert_eq!(until_third(&mut session, || Answer::Pause).0, Some(Done::Paused));
    print_timeline("pause", &session)?;
    generate(&mut session, &resume)?;
    print_timeline("pause-resumed", &session)?;

    session.append(Role::User, "What is 20 plus 31?")?;
    let (reason, result) = until_third(&mut session, || Answer::TakeBack);
    assert_eq!(reason, Some(Done::Cancelled));
    assert!(matches!(result, Err(Error::Cancelled(_))));
    print_timeline("taken-back", &session)?;

    let handle = session.cancel_handle();
    let (reason, result) = until_third(&mut session, || {
        handle.cancel();
        Answer::Continue
    });
    assert_eq!(reason, Some(Done::Cancelled));
    assert!(matches!(result, Err(Error::Cancelled(_))));
    print_timeline("cancelled", &session)?;
    ask("cancelled-next", &mut session, "Thank you.")
}

fn step_poll(model: &Model) -> Result<()> {
    let mut session = new_session(model)?;
    let mut turn = Turn::default();
    session.append(Role::User, "Hello!")?;
    session.start(&greedy())?;
    assert!(matches!(session.clear(), Err(Error::Busy(_))));
    while turn.reason.is_none() {
        session.poll(4, Duration::from_secs(1), |event| {
            turn.keep(event);
            Answer::Continue
        })?;
    }
    assert_eq!(turn.reason, Some(Done::Stop));
    print_timeline("poll", &session)
}

fn drawn(session: &mut Session, seed: u64) -> Result<Vec<i32>> {
    let options = GenerateOptions::new().temperature(0.7).top_p(0.95).seed(seed).max_tokens(12).token_events(true);
    let mut turn = Turn::default();
    let on_event = |event| {
        turn.keep(event);
        Answer::Continue
    };
    let stats = session.generate_with_logits(&options, on_event, |logits| {
        logits.fill(-100.0);
        logits[300..364].fill(1.0);
        true
    })?;
    assert_eq!(stats.reason, Done::Length);
    Ok(turn.ids)
}

fn step_sample(model: &Model) -> Result<()> {
    let mut session = new_session(model)?;
    let prompt = model.tokenize("Hello")?;
    session.append_tokens(&prompt)?;
    for (name, seed) in [("seed-42", 42), ("seed-42-again", 42), ("seed-43", 43)] {
        session.rewind(prompt.len() as u64)?;
        print(name, &drawn(&mut session, seed)?);
    }
    Ok(())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: rust_conversation CHECKPOINT_FOLDER")?;
    let model = Model::open_with(folder, ModelOptions::new().backend("cpu"))?;
    step_text(&model)?;
    step_chat(&model)?;
    step_think(&model)?;
    step_tools(&model)?;
    step_snapshot(&model)?;
    step_fork(&model)?;
    step_cancel(&model)?;
    step_poll(&model)?;
    step_sample(&model)?;
    Ok(())
}
