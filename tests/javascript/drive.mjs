// Drives every endpoint with OpenAI's own JavaScript client and prints what came of each case, one JSON object in all.
//   BASE_URL, API_KEY, INGEST_KEY, MODELS_URL node drive.mjs [CASE…]
import OpenAI from "openai";

const { BASE_URL, API_KEY, INGEST_KEY, MODELS_URL } = process.env;
const MODEL = "ai-sysadmin";
const FAST = "ai-sysadmin-fast";
const SEED = 7;
const messages = [{ role: "user", content: "How is this host?" }];

const clientOf = (apiKey, baseURL = BASE_URL) => new OpenAI({ apiKey, baseURL, maxRetries: 0, timeout: 60_000 });
const client = clientOf(API_KEY);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const chat = (more) => client.chat.completions.create({ model: MODEL, messages, seed: SEED, max_tokens: 48, ...more });

async function busySlots() {
  const slots = await (await fetch(`${MODELS_URL}/slots`)).json();
  return slots.filter((slot) => slot.is_processing).length;
}

async function until(isSo, seconds) {
  const started = performance.now();
  while (!(await isSo())) {
    if (performance.now() - started > seconds * 1000) return null;
    await sleep(20);
  }
  return (performance.now() - started) / 1000;
}

/** Return the kind of error that a call fails with, its status and its words. */
async function failure(call) {
  try {
    await call();
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, param: error.param, message: error.message };
  }
  return { kind: "none" };
}

const schema = {
  type: "object",
  properties: { healthy: { type: "boolean" }, level: { enum: ["low", "high"] } },
  required: ["healthy", "level"],
  additionalProperties: false,
};

const cases = {
  async models() {
    const listed = [];
    for await (const model of client.models.list()) listed.push(model.id);
    return { listed, one: (await client.models.retrieve(MODEL)).id };
  },

  async whole() {
    const { choices, usage } = await chat();
    return { text: choices[0].message.content, reason: choices[0].finish_reason, usage };
  },

  async streamed() {
    const roles = [];
    const reasons = [];
    let text = "";
    let usage = null;
    for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) {
      for (const { delta, finish_reason } of chunk.choices) {
        if (delta.role) roles.push(delta.role);
        if (finish_reason) reasons.push(finish_reason);
        text += delta.content ?? "";
      }
      usage = chunk.usage ?? usage;
    }
    return { text, roles, reasons, usage };
  },

  async schema() {
    const response_format = { type: "json_schema", json_schema: { name: "verdict", strict: true, schema } };
    return JSON.parse((await chat({ response_format, max_tokens: 200 })).choices[0].message.content);
  },

  async parts() {
    const content = [
      { type: "text", text: "How is" },
      { type: "text", text: "this host?" },
    ];
    const { choices } = await chat({ messages: [{ role: "system", content: "Be brief." }, { role: "user", content }] });
    return { text: choices[0].message.content };
  },

  async tools() {
    const tools = Array.from({ length: 36 }, (_, number) => ({
      type: "function",
      function: { name: `front_end_tool_${number}`, description: "Only the front end can.", parameters: schema },
    }));
    const { choices } = await chat({ tools });
    return { calls: choices[0].message.tool_calls ?? [], reason: choices[0].finish_reason };
  },

  async errors() {
    return {
      stranger: await failure(() => clientOf("sk-wrong").models.list()),
      monitoring: await failure(() => clientOf(INGEST_KEY).chat.completions.create({ model: MODEL, messages })),
      missing: await failure(() => chat({ model: "gpt-4o" })),
      empty: await failure(() => chat({ messages: [] })),
      path: await failure(() => client.files.list()),
    };
  },

  async responses() {
    const input = "How is this host?";
    const { output_text, usage } = await client.responses.create({ model: FAST, input, max_output_tokens: 32 });
    const types = [];
    let text = "";
    let last = null;
    for await (const event of await client.responses.create({ model: MODEL, input, max_output_tokens: 48, stream: true })) {
      types.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
      last = event;
    }
    const parts = last.response.output.flatMap((item) => item.content ?? []);
    return { output_text, usage, types, text, whole: parts.map((part) => part.text ?? "").join("") };
  },

  async embeddings() {
    return failure(() => client.embeddings.create({ model: "any", input: "disk full" }));
  },

  async together() {
    const answers = await Promise.all([MODEL, FAST].map((model) => chat({ model })));
    return { texts: answers.map((answer) => answer.choices[0].message.content) };
  },

  async bare() {
    const rootly = clientOf(API_KEY, BASE_URL.replace(/\/v1$/, ""));
    return { listed: (await rootly.models.list()).data.map((model) => model.id) };
  },

  async aborted() {
    await until(async () => (await busySlots()) === 0, 10);
    const aborting = new AbortController();
    const request = { model: MODEL, messages, stream: true };
    const stream = await client.chat.completions.create(request, { signal: aborting.signal });
    const busy = await until(async () => (await busySlots()) > 0, 10);
    aborting.abort();
    const ended = await failure(async () => {
      for await (const _ of stream);
    });
    return { busy, ended, free: await until(async () => (await busySlots()) === 0, 5) };
  },
};

const chosen = process.argv.slice(2);
const outcomes = {};
for (const name of chosen.length ? chosen : Object.keys(cases)) {
  try {
    outcomes[name] = { came: await cases[name]() };
  } catch (error) {
    outcomes[name] = { failed: `${error.constructor.name}: ${error.message}` };
  }
}
process.stdout.write(`${JSON.stringify(outcomes)}\n`);
