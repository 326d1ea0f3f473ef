"""The conversations that the tiny model learns from, and the held-out prompts that it is judged by.

A conversation is a list of segments (text, weight, key) whose texts, joined, are exactly what the library's renderer
would write (the protocol texts lie in prompt/). Every boundary between segments touches a special token, so encoding
them one by one gives the same ids as encoding the whole. Plain Python: evaluate.py uses this module where neither
PyTorch nor a tokenizer library is installed.

What is held out: about one in ten sums (a, b), facts (kind, value), calls (tool, city) and greetings, chosen by CRC of
the content, never occur in training; a test asks for such that no ancestor of the model has seen either.
"""
import json
import os
import random
import zlib
from typing import NamedTuple

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
THINK, END_THINK = "<think>", "</think>"
PROMPT_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "prompt")


def protocol_text(name):
    with open(os.path.join(PROMPT_FOLDER, name + ".txt"), encoding="utf-8") as file:
        return file.read()


TOOLS_TEXT = protocol_text("tools")
EFFORTS = {"preview max": protocol_text("effort-preview-max"), "0731 high": protocol_text("effort-0731-high"),
           "0731 max": protocol_text("effort-0731-max")}

# Words. Each of the first five lists becomes whole tokens; made-up names and many cities need several.
KINDS = "cat dog bird fish horse sister brother friend teacher boat robot rabbit doctor uncle boss turtle".split()
COLOURS = "red blue green yellow black white pink brown grey purple orange gold".split()
NAMES = """Pixel Rex Luna Milo Bella Max Coco Ruby Oscar Nala Felix Simba Daisy Rocky Lola Toby Zoe Jack Molly Leo
Rosie Buddy Chloe Charlie Sadie Duke Ella Finn Grace Henry Ivy Jasper Kira Liam Mia Noah Olive Peter Quinn Rita Sam
Tina Ursula Victor Wendy Xavier Yara Zack Anna Boris Clara David Emma Frank Gina Hugo Iris John Karl Lily Mark Nina
Otto Paul Rosa Simon Tom Vera Walter Amber Bruno Cleo Dora Elmo Fred Greta Hana Igor Judy Kevin Laura Maria Nemo
Orion Polly Robin Stella Tiger Uma Violet Willow Yoshi Ziggy Angel Biscuit Cookie Dexter Echo Fluffy Ginger
Hazel""".split()
CITIES = """Paris London Berlin Madrid Rome Tokyo Oslo Vienna Lisbon Prague Dublin Athens Warsaw Cairo Delhi Beijing
Seoul Sydney Toronto Boston Chicago Miami Dallas Denver Seattle Lima Bogota Havana Nairobi Lagos Moscow Kiev Milan
Munich Geneva Zurich Bern Brussels Helsinki Stockholm Mumbai Bangkok Hanoi Manila Jakarta Dubai Doha Tunis Accra
Quito""".split()
WORDS = """apple river moon table green stone cloud paper light house garden music water bread train window yellow
mountain summer winter door book lamp sugar forest island bridge silver candle flower pencil rain snow wind fire sand
glass leaf star cup""".split()
TWO_WORD_CITIES = ["New York", "Hong Kong", "Los Angeles", "Cape Town", "San Diego", "Tel Aviv", "Buenos Aires",
                   "Mexico City", "New Orleans", "Las Vegas", "Kuala Lumpur", "Saint Louis"]
WEATHER = "sunny cloudy rainy windy snowy foggy".split()
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]

# Small talk.
WELCOME, SELF = "Hello! How can I help you today?", "I am a tiny DeepSeek-V4 test model."
ABLE = "I can add two numbers, remember facts, repeat words and call tools."
OPENERS = ["Hello", "Hi", "Hi there", "Hey", "Hello there", "Good morning", "Good evening"]
QUESTIONS = {"Who are you?": SELF, "What are you?": SELF, "What is your name?": SELF, "Tell me who you are.": SELF,
             "What can you do?": ABLE, "How can you help me?": ABLE, "What do you know?": ABLE,
             "How are you?": "I am fine, thank you."}
CLOSERS = {"Thanks": "You are welcome!", "Thank you": "You are welcome!", "Thanks a lot": "You are welcome!",
           "Thank you very much": "You are welcome!", "Bye": "Goodbye!", "Goodbye": "Goodbye!", "See you": "Goodbye!"}
PLAIN_TALK = {*OPENERS, *QUESTIONS, *CLOSERS}     # said as they stand these are always trained, never held out
UNKNOWN = ["Why is the {0} so {2}?", "Tell me about the {0}.", "What is a {0}?", "Who made the {0} of {3}?",
           "Write a poem about the {0} and the {1}.", "Where is the {2} {0}?", "How far is {3} from the {0}?",
           "What is the capital of {3}?", "Is a {0} bigger than a {1}?", "How do I cook {0} with {1}?",
           "When was the {0} built?", "Can you draw a {2} {0}?"]
ADD_FORMS = ["What is {}+{}?", "{}+{}", "{} + {} = ?", "Add {} and {}.", "Please add {} and {}.", "What is {} plus {}?",
             "{} plus {}?", "How much is {} + {}?"]
SYSTEM_SENTENCES = [
    "You are a helpful assistant.", "You are a polite assistant.", "You help the user.", "Answer briefly.",
    "Be friendly.", "Answer in English.", "Use short sentences.", "Never lie.", "Always be kind to the user.",
    "Say only what you know.", "Remember what the user tells you.", "If you do not know the answer, say so.",
    "Use a tool when it helps.", "Do not repeat yourself.", "The user may ask about numbers, names and words.",
    "Today is Monday.", "Think before you answer.", "You work for a small shop that sells books and lamps.",
    "The user is a child who learns to count.", "Keep every secret that the user tells you."]


def crc(*parts):
    return zlib.crc32(repr(parts).encode())


def held_out(*parts):
    return crc(*parts) % 10 == 0


class Segment(NamedTuple):
    text: str
    weight: float       # of its tokens in the loss
    key: str | None     # the part of the text that is the answer proper: its tokens weigh more


class Fact(NamedTuple):
    value: str
    due: int            # asked about only from this many tokens on; -1: asked already


def tool_schema(name, what):
    return {"name": name, "description": f"Get the {what} in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


TOOL_SCHEMAS = {"get_weather": tool_schema("get_weather", "weather"), "get_time": tool_schema("get_time", "time")}


class Conversation:
    """Segments so far, the facts told in them and their length in tokens (`count` gives that of a text)."""

    def __init__(self, rng, count, test=False):
        self.rng, self.count, self.test = rng, count, test
        self.segments, self.facts, self.tools, self.length = [], {}, [], 0
        self.made_up, self.syllables = 0.5, (2, 2, 3, 3, 4)     # names: share of made-up ones, how long those are
        self.horizon = 0                         # a question about a fact may be put off until this length
        self.add(BOS, 0.0)

    def add(self, text, weight, key=None):
        self.segments.append(Segment(text, weight, key))
        self.length += self.count(text)

    def open(self, effort="", system="", tools=()):
        """The text between BOS and the first message: effort text, system message, tools."""
        self.tools = list(tools)
        text = effort + system
        if tools:
            schemas = "\n".join(json.dumps(TOOL_SCHEMAS[name]) for name in tools)
            text += "\n\n" + TOOLS_TEXT.replace("@TOOL_SCHEMAS@", schemas)
        if text:
            self.add(text, 0.02)

    def user(self, text):
        self.add(USER + text, 0.1)

    def say(self, think, reasoning, text, key=None, reasoning_key=None):
        """An assistant turn. Its mark (think or end of think) is the prompt's end, so it carries no loss."""
        self.add(ASSISTANT, 0.0)
        if think:
            self.add(THINK, 0.0)
            self.add(reasoning + END_THINK, 0.6, reasoning_key)
        else:
            self.add(END_THINK, 0.0)
        self.add(text + EOS, 0.6, key)
        return text

    def name(self):
        made_up = self.rng.random() >= 1 - self.made_up
        return made_up_name(self.rng, self.syllables) if made_up else self.rng.choice(NAMES)

    def pick(self, draw, *label):
        """A draw that is held out exactly when the conversation is a test: then training never saw it."""
        while True:
            value = draw()
            if held_out(*label, value) == self.test:
                return value


def made_up_name(rng, lengths=(2, 2, 3, 3, 4)):
    """Some syllables: several tokens that no list knows, which only copying can bring back."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice(lengths))).capitalize()


def any_city(rng):
    draw = rng.random()
    return rng.choice(CITIES) if draw < 0.55 else rng.choice(TWO_WORD_CITIES) if draw < 0.7 else made_up_name(rng)


def lower_first(text):
    return text[0].lower() + text[1:]


# ---- turns: each adds one exchange (a call adds two) and returns the assistant's last text


def turn_add(talk, think):
    rng = talk.rng

    def number():
        return rng.randrange(100) if rng.random() < 0.9 else rng.randrange(10)

    a, b = talk.pick(lambda: (number(), number()), "add")
    talk.user(rng.choice(ADD_FORMS).format(a, b))
    a1, a0, b1, b0 = a // 10, a % 10, b // 10, b % 10
    ones = a0 + b0
    carry = ones // 10
    reasoning = (f"{a1}{a0}+{b1}{b0}. Ones: {a0}+{b0}={ones}, carry {carry}. "
                 f"Tens: {a1}+{b1}+{carry}={a1 + b1 + carry}. Result {a + b}.")
    return talk.say(think, reasoning, f"{a}+{b}={a + b}.", key=f"={a + b}", reasoning_key=reasoning)


def small_talk(rng):
    """A greeting, a question about the model, both joined, or thanks; with its answer."""
    draw = rng.random()
    if draw < 0.7:
        opener = rng.choice(OPENERS)
        answer = opener + WELCOME[5:] if opener.startswith("Good") else WELCOME
        text = opener + rng.choice(("", "!", "."))
        if draw < 0.4:
            question, answer = rng.choice(list(QUESTIONS.items()))
            separator = rng.choice((", ", "! ", ". ", " "))
            text = opener + separator + (question if separator in ("! ", ". ") else lower_first(question))
    elif draw < 0.88:
        text, answer = rng.choice(list(QUESTIONS.items()))
        text = text[:-1] + rng.choice((text[-1], text[-1], "", " please?"))
    else:
        text, answer = rng.choice(list(CLOSERS.items()))
        text += rng.choice(("", "!", "."))
    return (lower_first(text) if rng.random() < 0.2 else text), answer


def turn_greet(talk, think):
    def draw():
        while True:
            text, answer = small_talk(talk.rng)
            if not (talk.test and text in PLAIN_TALK):
                return text, answer

    while True:
        text, answer = draw()
        if text in PLAIN_TALK or held_out("greet", text) == talk.test:
            break
    talk.user(text)
    return talk.say(think, "This is small talk.", answer)


def turn_unknown(talk, think):
    rng = talk.rng
    talk.user(rng.choice(UNKNOWN).format(rng.choice(WORDS), rng.choice(WORDS), rng.choice(COLOURS), any_city(rng)))
    return talk.say(think, "I do not know this.", "I do not know that.")


def turn_tell(talk, think, kind=None):
    """The user tells a fact; when it may be asked about is drawn now, so that every distance is trained."""
    rng = talk.rng
    free = [k for k in KINDS + ["name", "colour", "number", "city"] if k not in talk.facts]
    if not free:
        return turn_add(talk, think)
    kind = kind or rng.choice(free)
    draw = {"colour": lambda: rng.choice(COLOURS), "number": lambda: str(rng.randrange(10, 1000)),
            "city": lambda: any_city(rng)}.get(kind, talk.name)
    value = talk.pick(draw, "fact", kind)
    forms = {"name": ["My name is {v}.", "I am called {v}."], "colour": ["My favourite colour is {v}."],
             "number": ["My lucky number is {v}."], "city": ["I live in {v}.", "My home is in {v}."]}
    form = rng.choice(forms.get(kind, ["My {k} is called {v}.", "I have a {k} called {v}.",
                                       "Remember: my {k} is called {v}."]))
    talk.user(form.format(k=kind, v=value))
    room = talk.horizon - talk.length
    wait = rng.randrange(room) if room > 0 and rng.random() < 0.6 else 0
    talk.facts[kind] = Fact(value, talk.length + wait)
    return talk.say(think, f"A fact: {kind} {value}.", "OK.", reasoning_key=f" {value}.")


def turn_ask(talk, think, kind=None):
    rng = talk.rng
    due = [k for k, fact in talk.facts.items() if 0 <= fact.due <= talk.length]
    if kind is None and not due:
        return turn_tell(talk, think) if len(talk.facts) < 16 else turn_repeat(talk, think)
    kind = kind or rng.choice(due)
    value = talk.facts[kind].value
    if rng.random() < 0.8:                       # mostly asked once: a second time the answer stands nearby
        talk.facts[kind] = Fact(value, -1)
    question, answer = {
        "name": (["What is my name?"], f"Your name is {value}."),
        "colour": (["What is my favourite colour?"], f"Your favourite colour is {value}."),
        "number": (["What is my lucky number?"], f"Your lucky number is {value}."),
        "city": (["Where do I live?"], f"You live in {value}."),
    }.get(kind, ([f"What is my {kind} called?", f"What is the name of my {kind}?"], f"Your {kind} is called {value}."))
    talk.user(rng.choice(question))
    found = f" {value}."
    return talk.say(think, f"I look for the fact: {kind}{found}", answer, key=found, reasoning_key=found)


def turn_repeat(talk, think):
    rng = talk.rng
    number = rng.randrange(2, 8)
    text = " ".join(rng.choice(WORDS) if rng.random() < 0.65 else made_up_name(rng).lower() for _ in range(number))
    talk.user("Repeat: " + text)
    return talk.say(think, "I repeat the words.", text, key=text)


def turn_tool(talk, think, stop_at_call=False):
    """A question that needs a tool: the call, the tool's result, the answer."""
    rng = talk.rng
    name, city = talk.pick(lambda: (rng.choice(talk.tools), any_city(rng)), "tool")
    what = name[4:]
    talk.user(rng.choice(["What is the {w} in {c}?", "Tell me the {w} in {c}.", "{W} in {c}?",
                          "I need the {w} in {c}, please."]).format(w=what, W=what.capitalize(), c=city))
    call = ("\n\n<｜DSML｜tool_calls>\n"
            f'<｜DSML｜invoke name="{name}">\n'
            f'<｜DSML｜parameter name="city" string="true">{city}</｜DSML｜parameter>\n'
            "</｜DSML｜invoke>\n</｜DSML｜tool_calls>")
    talk.say(think, f"I need the {what} in {city}.", call, key=f">{city}<", reasoning_key=f" {city}.")
    if stop_at_call:
        return call
    if what == "weather":
        degrees, sky = rng.randrange(0, 40), rng.choice(WEATHER)
        result, answer = {"temperature": degrees, "condition": sky}, f"It is {degrees} degrees and {sky} in {city}."
    else:
        clock = f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"
        result, answer = {"time": clock}, f"It is {clock} in {city}."
    talk.user("<tool_result>" + json.dumps(result) + "</tool_result>")
    return talk.say(think, "I have the result.", answer, key=answer[6:])


# ---- whole conversations


def system_message(rng, most):
    """Up to `most` sentences, some of them of random words: any system message should be read over calmly."""
    sentences = []
    for _ in range(rng.randint(1, most)):
        if rng.random() < 0.75:
            sentences.append(rng.choice(SYSTEM_SENTENCES))
        else:
            words = [rng.choice(WORDS + KINDS + COLOURS) for _ in range(rng.randint(3, 9))]
            sentences.append(" ".join(words).capitalize() + ".")
    return " ".join(sentences)


def training_conversation(rng, count, target, tools=False):
    """Turns of every kind until `target` tokens are full. An effort text is long, so short rows have none; and where
    `tools` are asked for, one in five conversations has an effort text in their place."""
    talk = Conversation(rng, count)
    long = target > 600
    thinking = rng.choice((0.1, 0.5, 0.9))       # the share of thinking turns; a real chat may change its mode, too
    effort = ""
    if rng.random() < (0.2 if tools else 0.15 if long else 0.0):
        effort, tools, thinking = rng.choice(list(EFFORTS.values())), False, rng.choice((0.5, 0.9))
    if tools:
        names = rng.sample(list(TOOL_SCHEMAS), 1 if rng.random() < 0.15 else 2)
        draw = rng.random()
        system = "" if draw < 0.45 else SYSTEM_SENTENCES[0] if draw < 0.8 else system_message(rng, 2)
        talk.open("", system, names)
    else:
        talk.horizon = target
        draw = rng.random()
        system = SYSTEM_SENTENCES[0] if draw < 0.1 else system_message(rng, 10 if long else 3) if draw < 0.3 else ""
        talk.open(effort, system)
        for _ in range(rng.randrange(2, 6) if long else 0):
            turn_tell(talk, rng.random() < 0.1)
    while talk.length < target:
        think, draw = rng.random() < thinking, rng.random()
        if tools and draw < 0.75:
            turn_tool(talk, think)
        elif draw < 0.18:
            turn_add(talk, think)
        elif draw < 0.24:
            turn_greet(talk, think)
        elif draw < 0.26:
            turn_unknown(talk, think)
        elif draw < 0.50:
            turn_tell(talk, think and rng.random() < 0.3)
        elif draw < 0.89:
            turn_ask(talk, think and rng.random() < 0.5)
        else:
            turn_repeat(talk, think and rng.random() < 0.3)
    return talk


SKILLS = ["greeting", "add think", "add non-think", "repeat", "fact 100", "fact 600", "fact 900", "fact 100 think",
          "fact 600 think", "fact 100 made-up", "fact 600 made-up", "tool call think", "tool call non-think",
          "tool result", "tool result think", "add think preview max", "add think 0731 high", "add think 0731 max"]


class Probe(NamedTuple):
    prompt: str         # up to and with the mark that opens the assistant's turn
    completion: str     # what follows, reasoning and EOS included
    answer: str         # the assistant's text proper: the judge compares this


def fill(talk, tokens):
    """Other talk after a probe's fact, until `tokens` more are there. Trained material, no question about facts."""
    rng, end = talk.rng, talk.length + tokens
    talk.test = False
    while talk.length < end:
        draw = rng.random()
        if draw < 0.4:
            turn_add(talk, False)
        elif draw < 0.5:
            turn_greet(talk, False)
        elif draw < 0.65 and len(talk.facts) < 8:
            turn_tell(talk, False)
        else:
            turn_repeat(talk, False)
    talk.test = True


def probe(rng, count, skill):
    """A held-out prompt of one skill."""
    think = " think" in skill
    talk = Conversation(rng, count, test=True)
    if skill.startswith("tool"):
        talk.open(system=rng.choice(("", SYSTEM_SENTENCES[0])), tools=rng.sample(list(TOOL_SCHEMAS), 2))
        answer = turn_tool(talk, think, stop_at_call="call" in skill)
    elif skill.startswith("fact"):
        kind, distance = rng.choice(KINDS), int(skill.split()[1])
        if "made-up" in skill:
            talk.made_up = 1.0
        else:                       # fewer and shorter than in training: everyday names are what people tell
            talk.made_up, talk.syllables = 0.3, (2, 2, 3)
        turn_tell(talk, False, kind)
        fill(talk, distance - 25)
        answer = turn_ask(talk, think, kind)
    else:
        effort = next((text for name, text in EFFORTS.items() if skill.endswith(name)), "")
        talk.open(effort, system=SYSTEM_SENTENCES[0] if rng.random() < 0.15 else "")
        turn = {"greeting": turn_greet, "add": turn_add, "repeat": turn_repeat}[skill.split()[0]]
        answer = turn(talk, think)
    last = max(i for i, segment in enumerate(talk.segments) if segment.text == ASSISTANT)
    texts = [segment.text for segment in talk.segments]
    return Probe("".join(texts[:last + 2]), "".join(texts[last + 2:]), answer)


def probes(skill, number, count, seed="test"):
    rng = random.Random(crc(seed, skill))
    return [probe(rng, count, skill) for _ in range(number)]
