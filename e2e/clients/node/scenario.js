'use strict';
// Runs scenarios one after the other and tells how each went in a JSON line.
// A scenario has a topic and a consumer group of its own, both named PREFIX-SCENARIO, and must end within LIMIT_MS.

const { Failed, Stage, Unsupported } = require('./stage');
const scenes = require('./scenes');

// For one scenario; what hangs in the library is left behind a little later.
const LIMIT_MS = 25000;
const HUNG_MS = 10000;

async function play(parsed, name) {
  const scene = scenes[name];
  if (!scene) {
    return { outcome: 'failed', reason: 'this program does not know the scenario' };
  }
  const stage = new Stage(parsed, name, LIMIT_MS);
  try {
    return { outcome: 'ok', ...(await scene(stage)) };
  } catch (error) {
    if (error instanceof Unsupported) return { outcome: 'unsupported', reason: error.message };
    if (error instanceof Failed) return { outcome: 'failed', reason: error.message };
    return { outcome: 'failed', reason: `${error.name ?? 'Error'}: ${error.message ?? error}` };
  } finally {
    await stage.close();
  }
}

/** Resolves to true when none failed. */
async function scenario(parsed) {
  let well = true;
  for (const name of parsed.names) {
    const began = performance.now();
    let timer;
    const hung = new Promise(resolve => {
      const reason = `hangs in the library after ${(LIMIT_MS + HUNG_MS) / 1000} s`;
      timer = setTimeout(() => resolve({ outcome: 'failed', reason }), LIMIT_MS + HUNG_MS);
    });
    const told = await Promise.race([play(parsed, name), hung]);
    clearTimeout(timer);
    const seconds = Math.round((performance.now() - began) / 10) / 100;
    console.log(JSON.stringify({ scenario: name, seconds, ...told }));
    well = well && told.outcome !== 'failed';
  }
  return well;
}

module.exports = { scenario };
