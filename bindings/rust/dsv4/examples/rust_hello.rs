//! One question, streamed; then the same session calls a function of this program.
//!
//!     cargo run --example rust_hello ../../samples/models/tiny

use dsv4::{Conversation, Done, Event, GenerateOptions, Model, Reasoning, Role};

const TOOLS: &str = r#"{"messages": [], "tools": [{"type": "function", "function": {
  "name": "get_weather", "description": "Get the weather in a city",
  "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: rust_hello CHECKPOINT_FOLDER")?;
    let model = Model::open(folder)?;
    let mut session = model.session()?;
    let options = GenerateOptions::new().temperature(0.0).reasoning(Reasoning::None);

    session.append(Role::User, "Hello!")?;
    for event in session.generate(&options)? {
        if let Event::Content(text) = event? {
            print!("{text}");
        }
    }
    println!();

    session.set_conversation(&Conversation::from_json(TOOLS)?)?;
    session.append(Role::User, "What is the weather in Paris?")?;
    loop {
        let mut calls = Vec::new();
        let mut generation = session.generate(&options)?;
        for event in generation.by_ref() {
            match event? {
                Event::Content(text) => print!("{text}"),
                Event::ToolCall(call) => calls.push(call),
                _ => {}
            }
        }
        if generation.finish()?.reason != Done::ToolCalls {
            break;
        }
        for call in calls {
            println!("{} {}", call.name, call.arguments);
            session.append_tool_result(&call.id, r#"{"temperature": 21, "condition": "sunny"}"#)?;
        }
    }
    println!();
    Ok(())
}
