import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeFrame, Frames, Kind, parseRequest } from '../../../src/cli/wire.js';

/** A request as native/client.c writes it. */
function request(...strings: readonly string[]): Buffer {
  return Buffer.from(strings.map((text) => `${text}\0`).join(''));
}

const GOOD = ['vpcctl 1', '1:2:3:4', '/tmp', '010', '80', 'TERM=xterm', 'NO_COLOR=', '', 'list', '--json'];

describe('frames', () => {
  const frame = fc.oneof(
    fc.record({ kind: fc.constant(Kind.input), payload: fc.uint8Array({ maxLength: 300 }) }),
    fc.record({ kind: fc.constant(Kind.signal), payload: fc.uint8Array({ maxLength: 1 }) }),
    fc.record({ kind: fc.constant(Kind.go), payload: fc.constant(new Uint8Array()) }),
  );

  test('arrive whole, however their bytes do', () => {
    void fc.assert(
      fc.property(fc.array(frame), fc.array(fc.integer({ min: 1, max: 50 })), (sent, steps) => {
        const bytes = Buffer.concat(sent.map(({ kind, payload }) => encodeFrame(kind, payload)));
        const frames = new Frames();
        const got = [];
        for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
          const step = steps.length === 0 ? bytes.length : (steps[turn % steps.length] as number);
          got.push(...frames.push(bytes.subarray(at, at + step)));
          at += step;
        }
        expect(got.map(({ kind, payload }) => ({ kind, payload: [...payload] }))).toEqual(
          sent.map(({ kind, payload }) => ({ kind, payload: [...payload] })),
        );
      }),
    );
  });

  test.each([
    ['a kind that nobody knows', Buffer.from('GET / HTTP/1.1\r\n')],
    ['a kind of the daemon', encodeFrame(Kind.exit, Buffer.of(0))],
    ['a length that no payload has', Buffer.from([Kind.request, 0xff, 0xff, 0xff, 0x7f])],
    ['more than a signal', encodeFrame(Kind.signal, 'xx')],
  ])('%s is refused', (_title, bytes) => {
    expect(() => new Frames().push(bytes)).toThrow(/^a frame of/);
  });

  test('whatever comes, nothing else is thrown', () => {
    void fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        try {
          new Frames().push(Buffer.from(bytes));
        } catch (error) {
          expect(String(error)).toMatch(/^Error: a frame of/);
        }
      }),
    );
  });
});

describe('requests', () => {
  test('say all that the client has', () => {
    expect(parseRequest(request(...GOOD))).toEqual({
      identity: '1:2:3:4',
      cwd: '/tmp',
      terminals: [false, true, false],
      columns: 80,
      env: { TERM: 'xterm', NO_COLOR: '' },
      argv: ['list', '--json'],
    });
  });

  test('arguments may be empty, or none', () => {
    const head = ['vpcctl 1', '', '/', '000', '-1'];
    expect(parseRequest(request(...head, ''))).toMatchObject({ argv: [], env: {}, columns: undefined });
    expect(parseRequest(request(...head, '', ''))).toMatchObject({ argv: [''] });
    expect(parseRequest(request(...head, '', 'a', '', 'b'))).toMatchObject({ argv: ['a', '', 'b'] });
  });

  test.each([
    ['another protocol', request('vpcctl 2', ...GOOD.slice(1))],
    ['no end', request(...GOOD).subarray(0, -1)],
    ['no end of the environment', request(...GOOD.slice(0, 7))],
    ['nothing', Buffer.alloc(0)],
    ['a directory that depends on another', request('vpcctl 1', '', 'tmp', '000', '80', '')],
    ['two terminals', request('vpcctl 1', '', '/', '00', '80', '')],
    ['a width that is none', request('vpcctl 1', '', '/', '000', '80x', '')],
    ['a variable without a name', request('vpcctl 1', '', '/', '000', '80', '=x', '')],
  ])('%s is refused', (_title, bytes) => {
    expect(() => parseRequest(bytes)).toThrow(/^a request/);
  });
});
