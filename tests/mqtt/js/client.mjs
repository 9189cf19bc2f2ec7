// mqtt.js driven by JSON lines: a request a line on stdin, its answer or an arriving message a line on stdout.
import { createInterface } from 'node:readline'
import { readFileSync } from 'node:fs'
import mqtt from 'mqtt'

const tell = (event) => process.stdout.write(JSON.stringify(event) + '\n')
let client

const requests = {
  async connect ({ url, options, ca, will }) {
    const settings = { ...options, reconnectPeriod: 0, connectTimeout: 10000 }
    if (ca) settings.ca = readFileSync(ca)
    if (will) settings.will = { ...will, payload: Buffer.from(will.payload, 'hex') }
    client = mqtt.connect(url, settings)
    client.on('message', (topic, payload, packet) => tell({
      message: { topic, payload: payload.toString('hex'), qos: packet.qos, retain: packet.retain }
    }))
    return await new Promise((resolve, reject) => {
      client.on('connect', (connack) => resolve({ sessionPresent: connack.sessionPresent }))
      client.on('error', reject)
      client.on('close', () => reject(new Error('closed')))
    })
  },
  async subscribe ({ filter, qos }) {
    const granted = await client.subscribeAsync(filter, { qos })
    return { qos: granted[0].qos }
  },
  async publish ({ topic, payload, qos, retain }) {
    await client.publishAsync(topic, Buffer.from(payload, 'hex'), { qos, retain })
    return {}
  },
  async close () {
    await client.endAsync()
    return {}
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { request, ...given } = JSON.parse(line)
  try {
    tell({ answer: await requests[request](given) })
  } catch (problem) {
    tell({ failure: String(problem) })
  }
}
process.exit(0)
