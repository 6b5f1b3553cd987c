'use strict';
// The command line of the test client on the official Node library.

const { setMaxListeners } = require('node:events');
const { parseArgs } = require('node:util');

const text = { type: 'string' };
const COMMON = {
  endpoints: text,
  topic: text,
  group: text,
  name: text,
  tls: { type: 'boolean', default: false },
  'start-timeout': { type: 'string', default: '30' },
  'access-key': text,
  'secret-key': text,
};
const RECEIVING = {
  invisible: { type: 'string', default: '30' },
  batch: { type: 'string', default: '32' },
  wait: { type: 'string', default: '5' },
  filter: { type: 'string', default: '*' },
};
const HISTORY = { history: text, progress: { type: 'string', default: '1' }, count: { type: 'string', default: '0' } };
const COMMANDS = {
  produce: {
    ...HISTORY,
    rate: text,
    'in-flight': { type: 'string', default: '16' },
    size: { type: 'string', default: '256' },
    type: { type: 'string', default: 'normal' },
    delay: { type: 'string', default: '2' },
  },
  consume: {
    ...HISTORY,
    ...RECEIVING,
    kind: { type: 'string', default: 'simple' },
    'until-idle': text,
    'first-within': { type: 'string', default: '0' },
    duration: text,
    'in-flight': { type: 'string', default: '8' },
    sql: { type: 'boolean', default: false },
    wants: text,
    order: text,
    'max-attempts': text,
    rest: { type: 'string', default: '0' },
    'give-back': { type: 'string', default: '0' },
    'give-back-times': { type: 'string', default: '1' },
  },
  smoke: RECEIVING,
  scenario: { 'access-endpoints': text },
};
const NUMBERS = [
  'count', 'rate', 'in-flight', 'size', 'until-idle', 'first-within', 'duration', 'invisible', 'batch', 'wait', 'progress',
  'start-timeout', 'delay', 'rest', 'max-attempts', 'give-back', 'give-back-times',
];

function parse(words) {
  // Which word is the command shows only with every option known; the second look has just those of the command.
  const every = { ...COMMON, ...COMMANDS.produce, ...COMMANDS.consume, ...COMMANDS.scenario };
  const { positionals } = parseArgs({ args: words, options: every, allowPositionals: true });
  const [command, ...names] = positionals;
  if (!Object.hasOwn(COMMANDS, command)) {
    throw new TypeError(`there is to be one command of ${Object.keys(COMMANDS).join(', ')}`);
  }
  if ((command === 'scenario') !== names.length > 0) {
    throw new TypeError('scenario takes names, other commands none');
  }
  const options = { ...COMMON, ...COMMANDS[command] };
  const { values } = parseArgs({ args: words, options, allowPositionals: true });
  const required = ['endpoints', 'topic'];
  if (command === 'produce' || command === 'consume') required.push('history');
  if (command === 'consume') required.push('group');
  for (const name of required) {
    if (!values[name]) throw new TypeError(`--${name} is missing`);
  }
  for (const name of NUMBERS) {
    if (values[name] === undefined) continue;
    const number = Number(values[name]);
    if (!Number.isFinite(number) || number < 0) throw new TypeError(`--${name} ${values[name]} is no number`);
    values[name.replace(/-(.)/g, (_, letter) => letter.toUpperCase())] = number;
  }
  for (const name of ['access-endpoints', 'access-key', 'secret-key']) {
    values[name.replace(/-(.)/g, (_, letter) => letter.toUpperCase())] = values[name];
  }
  return { ...values, command, names };
}

/** Several command lines with + between them are run at once. */
function parts(words) {
  const lines = [[]];
  for (const word of words) {
    if (word === '+') lines.push([]);
    else lines.at(-1).push(word);
  }
  return lines.map(parse);
}

/** Resolves to true when all went well. */
async function run(parsed, stop) {
  try {
    const command = require(`./${parsed.command}`)[parsed.command];
    if (parsed.command === 'scenario') {
      return await command(parsed);
    }
    const client = await command(parsed, stop);
    // Saying goodbye must not outlive an unreachable broker.
    const limit = new Promise(resolve => setTimeout(resolve, 3000));
    await Promise.race([client.shutdown().catch(() => {}), limit]);
    return true;
  } catch (error) {
    console.error(`node: ${parsed.command} ${parsed.name ?? parsed.topic} failed: ${error.message}`);
    return false;
  }
}

async function main() {
  let lines;
  try {
    lines = parts(process.argv.slice(2));
  } catch (error) {
    console.error(`clients/run node: ${error.message}`);
    process.exit(2);
  }
  const stop = new AbortController();
  // Every session waits for it.
  setMaxListeners(0, stop.signal);
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => stop.abort());
  }
  const well = await Promise.all(lines.map(parsed => run(parsed, stop.signal)));
  process.exit(well.every(Boolean) ? 0 : 1);
}

main();
