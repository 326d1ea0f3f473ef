#!/usr/bin/env python3
"""How often the tiny model is right, measured through libdsv4 itself: held-out prompts, greedy decoding.

    python3 samples/models/tiny/evaluate.py [MODEL] [--number 100] [--library FILE] [--skills "add think,tool result"]

Needs only Python 3.11 and a built library (default: build/release/lib/libdsv4.so). Every prompt is fed to a session,
every answer decoded token by token to its end, and an answer counts when its text proper is the expected one to the
letter (the reasoning before it may differ). The draft head counts as right where its first choice, made one token
earlier, is the token that the main model then chooses. Prints a Markdown table; `--show K` adds up to K wrong answers
a skill.
"""
import argparse
import ctypes
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "train"))
import data  # noqa: E402  (the same prompts that the training holds out)

CONTEXT, LONGEST_ANSWER = 2048, 160
TEXT_SPECIAL, SESSION_DRAFT = 1, 1      # DSV4_TEXT_SPECIAL, DSV4_SESSION_DRAFT


class ModelOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("backend", ctypes.c_char_p), ("isa", ctypes.c_char_p),
                ("threads", ctypes.c_int32), ("profile", ctypes.c_int32)]


class SessionOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("context", ctypes.c_uint64), ("flags", ctypes.c_uint32),
                ("prefill_chunk", ctypes.c_int32)]


class EvalOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("logits", ctypes.POINTER(ctypes.c_float)),
                ("draft_logits", ctypes.POINTER(ctypes.c_float)), ("progress", ctypes.c_void_p),
                ("progress_user", ctypes.c_void_p)]


class Library:
    """The few calls of dsv4.h that are needed, with their errors turned into exceptions."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.lib.dsv4_error_message.restype = ctypes.c_char_p

    def call(self, name, *arguments):
        error = ctypes.c_void_p()
        if getattr(self.lib, name)(*arguments, ctypes.byref(error)) != 0:
            message = self.lib.dsv4_error_message(error).decode()
            self.lib.dsv4_error_release(ctypes.byref(error))
            raise RuntimeError(f"{name}: {message}")


class Player:
    """One model and one session that is used again for every prompt."""

    def __init__(self, library, folder, backend):
        self.library, self.model, self.session = library, ctypes.c_void_p(), ctypes.c_void_p()
        options = ModelOptions(ctypes.sizeof(ModelOptions), backend.encode())
        library.call("dsv4_model_open", folder.encode(), ctypes.byref(options), ctypes.byref(self.model))
        options = SessionOptions(ctypes.sizeof(SessionOptions), CONTEXT, SESSION_DRAFT, 0)
        library.call("dsv4_session_create", self.model, ctypes.byref(options), ctypes.byref(self.session))
        self.eos, = self.ids(data.EOS)
        library.call("dsv4_session_eval", self.session, (ctypes.c_int32 * 1)(self.eos), ctypes.c_size_t(1), None)
        size = ctypes.c_size_t()
        library.call("dsv4_session_logits", self.session, None, ctypes.c_size_t(0), ctypes.byref(size))
        self.logits, self.draft_logits = (ctypes.c_float * size.value)(), (ctypes.c_float * size.value)()

    def ids(self, text):
        raw, count = text.encode(), ctypes.c_size_t()
        room = (ctypes.c_int32 * (len(raw) + 1))()
        self.library.call("dsv4_tokenize", self.model, raw, ctypes.c_size_t(len(raw)), ctypes.c_uint32(TEXT_SPECIAL),
                          room, ctypes.c_size_t(len(room)), ctypes.byref(count))
        return room[:count.value]

    def text(self, ids):
        room, length = ctypes.create_string_buffer(64 * len(ids) + 64), ctypes.c_size_t()
        self.library.call("dsv4_detokenize", self.model, (ctypes.c_int32 * len(ids))(*ids), ctypes.c_size_t(len(ids)),
                          ctypes.c_uint32(TEXT_SPECIAL), room, ctypes.c_size_t(len(room)), ctypes.byref(length))
        return room.raw[:length.value].decode(errors="replace")

    def evaluate(self, ids, choose):
        """Evaluates ids; with `choose`, of one id: the next token and the draft's choice for it."""
        options = EvalOptions(struct_size=ctypes.sizeof(EvalOptions))
        if choose:
            options.logits, options.draft_logits = self.logits, self.draft_logits
        self.library.call("dsv4_session_eval", self.session, (ctypes.c_int32 * len(ids))(*ids),
                          ctypes.c_size_t(len(ids)), ctypes.byref(options))
        return (argmax(self.logits), argmax(self.draft_logits)) if choose else None

    def answer(self, prompt):
        """The ids decoded after the prompt, EOS included; and how many of them the draft head had foreseen."""
        self.library.call("dsv4_session_clear", self.session)
        ids = self.ids(prompt)
        self.evaluate(ids[:-1], choose=False)
        token, out, foreseen = ids[-1], [], 0
        while token != self.eos and len(out) < LONGEST_ANSWER:
            token, draft = self.evaluate([token], choose=True)
            foreseen += draft == token
            out.append(token)
        return out, foreseen


def argmax(values):
    values = list(values)
    return values.index(max(values))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=HERE)
    parser.add_argument("--number", type=int, default=100, help="prompts per skill")
    parser.add_argument("--library", default=os.path.join(HERE, "../../../build/release/lib/libdsv4.so"))
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--skills", default=",".join(data.SKILLS))
    parser.add_argument("--show", type=int, default=0)
    options = parser.parse_args()
    player = Player(Library(options.library), options.model, options.backend)
    print("| skill | right | draft | prompt tokens |\n|---|---|---|---|")
    begin, all_foreseen, all_tokens = time.time(), 0, 0
    for skill in options.skills.split(","):
        right = foreseen = tokens = 0
        wrong = []
        probes = data.probes(skill, options.number, lambda text: len(player.ids(text)))
        for probe in probes:
            ids, drafted = player.answer(probe.prompt)
            foreseen, tokens = foreseen + drafted, tokens + len(ids)
            text = player.text(ids)
            if text.split(data.END_THINK)[-1] == probe.answer + data.EOS:
                right += 1
            else:
                wrong.append(f"    {probe.prompt[-60:]!r} -> {text!r}, expected {probe.answer!r}")
        length = sum(len(player.ids(probe.prompt)) for probe in probes) / len(probes)
        print(f"| {skill} | {100 * right / len(probes):.0f} % | {100 * foreseen / tokens:.1f} % | {length:.0f} |",
              flush=True)
        print(*wrong[:options.show], sep="\n", end="\n" if wrong[:options.show] else "", file=sys.stderr)
        all_foreseen, all_tokens = all_foreseen + foreseen, all_tokens + tokens
    print(f"\nDraft head's first choice = the model's next token: {100 * all_foreseen / all_tokens:.1f} % of "
          f"{all_tokens}. {options.number} prompts a skill, {time.time() - begin:.0f} s.")


if __name__ == "__main__":
    main()
