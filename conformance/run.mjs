#!/usr/bin/env node
// Runs the public caching test suite (npm package http-cache-tests) through Seawall and keeps score.
//
//   run.mjs              the whole suite; writes docs/conformance.md
//   run.mjs --id ID      one test, with what client, origin and access log saw
//   run.mjs --json FILE  writes every test's outcome too
//   run.mjs --base URL --origin-port PORT
//                        runs it through a proxy that runs already, with the suite's origin on PORT
//   run.mjs --suite DIR  another edition of the suite, laid out as the package is
//
// SEAWALL_BIN (the release build), SEAWALL_CONF (conf/transparent.toml)
//
// Exits with 1 when the score is below the floor in reasons.toml, or when a failure has no reason
// there. With --id, --base or --suite the floor does not count and nothing is written.

import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { createServer, connect } from 'node:net'
import { createRequire } from 'node:module'
import { devNull } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const HERE = dirname(fileURLToPath(import.meta.url))
const ROOT = dirname(HERE)
const REASONS = join(HERE, 'reasons.toml')
const REPORT = join(ROOT, 'docs', 'conformance.md')
const PACKAGE = join(HERE, 'node_modules', 'http-cache-tests')

const { values: options } = parseArgs({
  options: {
    id: { type: 'string' },
    json: { type: 'string' },
    base: { type: 'string' },
    'origin-port': { type: 'string' },
    suite: { type: 'string' }
  }
})
const scored = !options.id && !options.base && !options.suite

const children = []
process.on('exit', () => children.forEach(child => child.kill('SIGKILL')))
for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) {
  process.on(signal, () => process.exit(status))
}

async function main () {
  const suite = await load()
  const originPort = Number(options['origin-port']) || await freePort()
  await startOrigin(suite, originPort)
  const base = options.base?.replace(/\/$/, '') ?? await startSeawall(originPort)

  const outcomes = await run(suite, base)
  if (options.json) writeFileSync(options.json, JSON.stringify(outcomes, null, 2) + '\n')
  const totals = count(outcomes)
  const failures = outcomes.filter(({ kind, result }) => kind !== 'check' && result !== 'pass')
  print(totals, options.id ? outcomes : failures)
  return scored ? judge(totals, failures) : 0
}

// --- The suite ------------------------------------------------------------------

async function load () {
  const dir = options.suite ? resolve(options.suite) : PACKAGE
  if (dir === PACKAGE && !existsSync(PACKAGE)) {
    console.error('Installing the suite (npm ci)')
    const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--silent'],
      { cwd: HERE, stdio: ['ignore', 2, 2] })
    if (status !== 0) give('npm ci failed')
  }
  const { runTests, getResults } = await import(join(dir, 'client', 'runner.mjs'))
  const { determineTestResult } = await import(join(dir, 'lib', 'display.mjs'))
  const { default: suites } = await import(join(dir, 'tests', 'index.mjs'))
  return { dir, runTests, getResults, determineTestResult, suites, fetch: fetchOf(dir) }
}

// The package brings its own fetch; later editions use Node's. A connection each: which one a proxy
// closes is not what is measured.
function fetchOf (dir) {
  const require = createRequire(join(dir, 'package.json'))
  try {
    const fetch = require('node-fetch')
    const agent = new Agent({ keepAlive: false })
    return (url, init) => fetch(url, { agent, timeout: 60_000, ...init })
  } catch {
    return globalThis.fetch
  }
}

async function run ({ runTests, getResults, determineTestResult, suites, fetch }, base) {
  const chosen = suites
    .map(suite => ({ ...suite, tests: suite.tests.filter(({ id }) => !options.id || id === options.id) }))
    .filter(({ tests }) => tests.length > 0)
  if (chosen.length === 0) give(`no test is called ${options.id}`)
  if (options.id) chosen[0].tests[0].dump = true

  const tests = chosen.flatMap(({ tests }) => tests)
  console.error(`Running ${tests.length} tests through ${base}`)
  await runTests(chosen, fetch, false, base)
  const results = getResults()
  return tests.map(test => ({
    id: test.id,
    kind: test.kind ?? 'required',
    result: WORDS[determineTestResult(suites, test.id, results, !options.id)[2]],
    message: results[test.id]?.[1] ?? '',
    name: test.name
  })).filter(({ result }) => result !== 'untested')
}

// The suite's symbols in words.
const WORDS = {
  '-': 'untested',
  '✅': 'pass',
  '⛔️': 'fail',
  '⚠️': 'fail',
  Y: 'yes',
  N: 'no',
  '🔹': 'setup failed',
  '⁉️': 'harness failed',
  '⚪️': 'dependency failed',
  '↻': 'retried'
}

// --- What it needs to run ---------------------------------------------------------

async function startOrigin ({ dir }, port) {
  const env = { ...process.env, npm_config_protocol: 'http', npm_config_port: String(port), npm_config_pidfile: devNull }
  const origin = start('the origin', process.execPath, ['server/server.mjs'], { cwd: dir, env })
  await listening(origin, port)
}

async function startSeawall (originPort) {
  const target = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target')
  const binary = process.env.SEAWALL_BIN ?? join(target, 'release', 'seawall')
  const [port, admin] = [await freePort(), await freePort()]
  const env = {
    SEAWALL_LOG: 'error',
    ...process.env,
    PORT: String(port),
    ADMIN: `127.0.0.1:${admin}`,
    ORIGIN: `http://127.0.0.1:${originPort}`
  }
  const config = process.env.SEAWALL_CONF ?? join(ROOT, 'conf', 'transparent.toml')
  const seawall = start('Seawall', binary, ['serve', config], { env })
  await listening(seawall, port)
  return `http://127.0.0.1:${port}`
}

function start (name, command, args, settings) {
  const output = options.id ? 2 : 'ignore'
  const child = spawn(command, args, { stdio: ['ignore', output, 2], ...settings })
  child.on('error', error => give(`${name} did not start: ${error.message}`))
  child.on('exit', (code, signal) => give(`${name} ended (${signal ?? code})`))
  children.push(child)
  return child
}

function give (message) {
  console.error(message)
  process.exit(1)
}

async function listening (child, port) {
  for (let tries = 0; tries < 300; tries++) {
    const open = await new Promise(resolve => {
      const socket = connect(port, '127.0.0.1', () => resolve(true))
      socket.on('error', () => resolve(false))
      socket.on('connect', () => socket.destroy())
    })
    if (open) return
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  give(`${child.spawnfile} does not listen on port ${port}`)
}

function freePort () {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

// --- Score -------------------------------------------------------------------------

function count (outcomes) {
  const of = (kind, wanted) => outcomes.filter(o => o.kind === kind && (!wanted || o.result === wanted)).length
  return {
    required: [of('required', 'pass'), of('required')],
    optimal: [of('optimal', 'pass'), of('optimal')],
    checks: [of('check', 'yes'), of('check', 'no'), of('check')]
  }
}

function inWords ({ required, optimal, checks: [yes, no, all] }) {
  const rest = all - yes - no
  return `required ${required.join('/')}, optimal ${optimal.join('/')}, ` +
    `checks ${yes} yes and ${no} no${rest ? ` (${rest} without an answer)` : ''}`
}

function print (totals, failures) {
  console.log(inWords(totals))
  for (const { id, kind, result, message } of failures) {
    console.log(`  ${kind.padEnd(8)} ${id}: ${result}${message && ': ' + tidy(message)}`)
  }
}

function judge (totals, failures) {
  const { floor, reasons } = readReasons()
  report(totals, failures, reasons)
  const complaints = []
  for (const kind of ['required', 'optimal']) {
    const [passed] = totals[kind]
    if (passed < floor[kind]) complaints.push(`${kind} ${passed} is below the floor of ${floor[kind]}`)
    if (passed > floor[kind]) console.log(`${kind} ${passed} is above the floor of ${floor[kind]}: raise it`)
  }
  for (const { id } of failures) {
    if (!reasons[id]) complaints.push(`${id} fails unexplained`)
  }
  for (const id of Object.keys(reasons)) {
    if (!failures.some(failure => failure.id === id)) complaints.push(`${id} has a reason and does not fail`)
  }
  complaints.forEach(complaint => console.log(`conformance/reasons.toml: ${complaint}`))
  return complaints.length ? 1 : 0
}

// As much of TOML as that file uses: tables, numbers, one-line strings.
function readReasons () {
  const tables = { floor: {}, reasons: {} }
  let table
  readFileSync(REASONS, 'utf8').split('\n').forEach((line, index) => {
    if (/^\s*(#|$)/.test(line)) return
    const head = /^\[(\w+)\]$/.exec(line)
    const entry = /^([\w-]+|"[^"]+") = (".*"|\d+)$/.exec(line)
    if (head && tables[head[1]]) table = tables[head[1]]
    else if (entry && table) table[entry[1].replaceAll('"', '')] = JSON.parse(entry[2])
    else throw new Error(`reasons.toml:${index + 1}: cannot be read: ${line}`)
  })
  return tables
}

function report (totals, failures, reasons) {
  const [BEGIN, END] = ['<!-- written by make conformance: begin -->', '<!-- end -->']
  const text = readFileSync(REPORT, 'utf8')
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`${REPORT} lacks its markers`)
  const rows = failures.map(({ id, kind, result, message }) =>
    `| \`${id}\` | ${kind} | ${cell(tidy(message) || result)} | ${cell(reasons[id] ?? 'unexplained')} |`)
  const table = rows.length
    ? ['| test | kind | what happens | why |', '|---|---|---|---|', ...rows]
    : ['Nothing required or optimal fails.']
  const { version } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8'))
  const body = [BEGIN, `\`http-cache-tests\` ${version}: **${inWords(totals)}**.`, '', ...table, '']
  writeFileSync(REPORT, text.slice(0, from) + body.join('\n') + text.slice(to))
}

// What differs from run to run is no news.
function tidy (message) {
  return message
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '…')
    .replace(/\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT/g, 'a date')
    .replace(/\b127\.0\.0\.1:\d+/g, 'the proxy')
}

function cell (text) {
  return text.replace(/\s+/g, ' ').replaceAll('|', '\\|')
}

process.exit(await main())
