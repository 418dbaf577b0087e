"""What is a front end's background work, and what a person asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.meta_model.small_tasks import TaskKind
from ai_sysadmin.openai_api_server.answers.tasks import HEADERS, task_of
from ai_sysadmin.openai_api_server.wire import ChatRequest

HISTORY = "<chat_history>\nUSER: why is nginx down?\nASSISTANT: its port is taken\n</chat_history>"
PROMPTS = {
    TaskKind.TITLE: f"### Task:\nGenerate a concise title summarizing the chat history.\nBe short.\n{HISTORY}",
    TaskKind.FOLLOW_UPS: f"### Task:\nPredict 3-5 useful messages this user might naturally send next.\n{HISTORY}",
    TaskKind.TAGS: f"### Task:\nGenerate 1-3 broad tags categorizing the main themes of it.\n{HISTORY}",
    TaskKind.QUERIES: "### Task:\nAnalyze the chat history to determine the necessity of generating search queries.\n"
    + HISTORY,
    TaskKind.IMAGE_PROMPT: f"### Task:\nGenerate a detailed prompt for am image generation task.\n{HISTORY}",
    TaskKind.AUTOCOMPLETE: "### Task:\nYou are an autocompletion system. Go on.\n<text>an example</text>\n"
    "<chat_history>\n\n</chat_history>\n<type>general</type>\n<text>why is ngi</text>\n#### Output:\n",
    TaskKind.EMOJI: "Your task is to reflect the speaker's likely facial expression by a sign.\n\nMessage: ```oh no```",
    TaskKind.MERGE: 'You have been provided with a set of responses from various models to the latest: "q"\n\n'
    'Responses from models: """short"""\n\n"""a longer answer"""',
}
OLDER = {
    TaskKind.TITLE: f"### Task:\nGenerate a concise, 3-5 word title with an emoji.\n{HISTORY}",
    TaskKind.FOLLOW_UPS: f"### Task:\nSuggest 3-5 relevant follow-up questions or prompts.\n{HISTORY}",
}
LEGACY_SYSTEM = (
    'Available Tools: [{"name": "run"}]\n\nYour task is to choose and return the correct tool(s) from the list.'
)
VALUES = {
    "title_generation": TaskKind.TITLE,
    "follow_up_generation": TaskKind.FOLLOW_UPS,
    "tags_generation": TaskKind.TAGS,
    "query_generation": TaskKind.QUERIES,
    "autocomplete_generation": TaskKind.AUTOCOMPLETE,
    "image_prompt_generation": TaskKind.IMAGE_PROMPT,
    "emoji_generation": TaskKind.EMOJI,
    "moa_response_generation": TaskKind.MERGE,
    "function_calling": TaskKind.TOOL_CHOICE,
}
ASK_USER = {"type": "function", "function": {"name": "ask_user", "parameters": {"type": "object"}}}
RAG = "### Task:\nRespond to the user query using the provided context.\n\n<context>\n{}\n</context>\n\nwhat is it?"


def said(text, role="user"):
    return {"role": role, "content": text}


def asking(*messages, **more):
    return ChatRequest.model_validate({"messages": list(messages), "stream": False, **more})


def kind_of(asked, headers=None):
    task = task_of(asked, headers or {})
    return task.kind if task else None


# --- what is one


@pytest.mark.parametrize(("kind", "prompt"), [*PROMPTS.items(), *OLDER.items()])
def test_each_kind_is_known_by_its_opening(kind, prompt):
    assert kind_of(asking(said(prompt))) is kind
    assert kind_of(asking(said("You are a pirate.", "system"), said(prompt))) is kind
    assert kind_of(asking(said([{"type": "text", "text": prompt}]))) is kind


@pytest.mark.parametrize("begin", ["", "You are a pirate.\n\n"])
@pytest.mark.parametrize("query", ["Query: restart nginx", 'History:\nUSER: """hi"""\nQuery: restart nginx'])
def test_the_older_choice_of_tools_is_known(begin, query):
    assert kind_of(asking(said(begin + LEGACY_SYSTEM, "system"), said(query))) is TaskKind.TOOL_CHOICE
    assert (
        kind_of(asking(said("A wish.", "system"), said(LEGACY_SYSTEM, "system"), said(query))) is TaskKind.TOOL_CHOICE
    )


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_names_the_task_is_believed_whatever_the_prompt(header, value):
    asked = asking(said("Name it in Portuguese, please: an operator's own wording"))
    assert kind_of(asked, {header: value}) is VALUES[value]
    assert kind_of(asked, {header: f" {value.upper().replace('_', '-')} "}) is VALUES[value]


@pytest.mark.parametrize("value", ["", "Default", "{{TASK}}", "something_new"])
def test_a_header_that_names_no_known_task_says_nothing(value):
    assert kind_of(asking(said("why is nginx down?")), {"x-owui-task": value}) is None


@pytest.mark.parametrize("kind", PROMPTS)
def test_the_task_model_may_stream_and_another_may_only_where_answers_are_merged(kind):
    assert kind_of(asking(said(PROMPTS[kind]), stream=True, model="ai-sysadmin-fast")) is kind
    streamed = kind_of(asking(said(PROMPTS[kind]), stream=True, model="ai-sysadmin"))
    assert streamed is (kind if kind is TaskKind.MERGE else None)


def test_only_the_data_is_taken_from_a_prompt():
    def data(kind):
        return task_of(asking(said(PROMPTS[kind])), {})

    assert data(TaskKind.TITLE).text == "USER: why is nginx down?\nASSISTANT: its port is taken"
    assert data(TaskKind.AUTOCOMPLETE).text == "why is ngi"
    assert data(TaskKind.EMOJI).text == "oh no"
    assert data(TaskKind.MERGE).answers == ("short", "a longer answer")


# --- what is none


@pytest.mark.parametrize(
    "text",
    [
        RAG.format("<source>a file</source>"),
        RAG.format(HISTORY),
        "### Task: tidy up the logs",
        "### Task:\nGenerate a report on disk usage",
        "### Task:\nGenerate a concise title summarizing the chat history, and what is wrong with nginx?",
        "Generate a concise title summarizing the chat history. <chat_history>x</chat_history>",
        f"Why did I get this prompt?\n{PROMPTS[TaskKind.TITLE]}",
        "Your task is to reflect the speaker's likely facial expression: why does my log say so?",
        "Query: what is it that fills /var?",
        "You are an autocompletion system. <text>x</text>",
    ],
)
def test_a_person_may_write_about_tasks_and_attach_files(text):
    assert kind_of(asking(said(text))) is None
    assert kind_of(asking(said(text), model="ai-sysadmin-fast")) is None


@pytest.mark.parametrize("kind", PROMPTS)
def test_what_has_a_history_an_attachment_or_tools_is_a_chat(kind):
    prompt = said(PROMPTS[kind])
    picture = {"role": "user", "content": [{"type": "text", "text": PROMPTS[kind]}, {"type": "image_url"}]}
    assert kind_of(asking(said("hello"), said("hi", "assistant"), prompt)) is None
    assert kind_of(asking(prompt, said("half an answer", "assistant"))) is None
    assert kind_of(asking(picture)) is None
    assert kind_of(asking(prompt, tools=[ASK_USER])) is None


def test_a_system_prompt_about_tools_makes_no_task_of_a_streamed_chat():
    assert kind_of(asking(said(LEGACY_SYSTEM, "system"), said("Query: x"), stream=True)) is None
    assert kind_of(asking(said(LEGACY_SYSTEM, "system"), said("restart nginx"))) is None


@given(
    text=st.one_of(st.text(max_size=200), st.sampled_from(list(PROMPTS.values()))),
    stream=st.booleans(),
    model=st.sampled_from([None, "ai-sysadmin", "ai-sysadmin-fast"]),
    header=st.sampled_from([{}, *({"x-owui-task": value} for value in VALUES)]),
)
def test_no_chat_in_which_a_person_can_be_asked_is_ever_a_task(text, stream, model, header):
    assert task_of(asking(said(text), stream=stream, model=model, tools=[ASK_USER]), header) is None


@given(st.text(max_size=400))
def test_no_ordinary_question_is_a_task(text):
    assert task_of(asking(said(text)), {}) is None
