#!/usr/bin/ruby
# The recipes of docs/clients.md for Rails.
#
# recipes.rb check       goes through all of them
# recipes.rb bench WAY   walks the table for stacks.py

require 'active_record'
require 'json'
require 'tempfile'

ActiveRecord::Base.establish_connection(adapter: 'postgresql', database: ENV.fetch('PGDATABASE'), pool: 6)

class Event < ActiveRecord::Base
  self.table_name = 'event'
  has_many :orders
end

class Order < ActiveRecord::Base
  self.table_name = 'order'
  belongs_to :event
end

# [walk]
module Chunked
  # Yields the pages of a relation's table, each a relation of its own, loaded.
  def each_page(size: 1000, after: {}, key: nil)
    loop do
      page = from(sanitize_sql_array(["chunked.page(NULL::#{quoted_table_name}, ?, after => ?, key => ?) AS #{quoted_table_name}",
                                      size, after.to_json, key])).load
      break if page.empty?
      yield page
      after = { primary_key => page.last.id }
    end
  end

  # Yields a relation's rows chunk by chunk: its conditions, joins and includes stay as they are.
  def each_chunk(size: 1000, after: '{}', key: nil)
    loop do
      chunk = connection.select_one(sanitize_sql_array(
        ['SELECT upto::text, predicate FROM chunked.next_chunk(?, ?, after => ?, key => ?, alias => ?)',
         quoted_table_name, size, after, key, quoted_table_name]))
      break if chunk.nil?
      yield where(chunk['predicate']), after = chunk['upto']
    end
  end
end

ActiveRecord::Base.extend(Chunked)
# [end]

def walk(handle)
  # [loop]
  Event.each_page do |events|
    events.each { |event| handle.(event) }
  end
  # [end]
end

def resume(file, handle)
  # [resume]
  after = File.exist?(file) ? JSON.parse(File.read(file)) : {}
  Event.each_page(after: after) do |events|
    handle.(events)
    File.write(file, { id: events.last.id }.to_json)
  end
  # [end]
end

# [backwards]
def last_page(before = {})      # or the first row of the page that is shown: { id: event.id }
  Event.from(Event.sanitize_sql_array(['chunked.page(NULL::event, 1000, before => ?) AS event', before.to_json]))
end
# [end]

def other_walks(name, handle)
  # [own]
  Event.where('kind = ? AND name > ?', 7, name).order(:id).each_chunk { |events| handle.(events) }
  Event.order(created_at: :desc, id: :desc).each_chunk(key: 'created_at DESC, id DESC') { |events| handle.(events) }
  Event.order(id: :desc).each_chunk(key: 'id DESC') { |events| handle.(events) }
  Event.includes(:orders).order(:id).each_chunk { |events| handle.(events) }
  Order.joins(:event).where(event: { kind: 8 }).order(:id).each_chunk { |orders| handle.(orders) }
  # [end]
end

# [pages]
def page(number, per_page = 100)
  Event.from(Event.sanitize_sql_array(['chunked.paginate(NULL::event, ?, ?) AS event', number, per_page]))
end

def page_count(per_page = 100)
  Event.connection.select_value(Event.sanitize_sql_array(["SELECT page_count FROM chunked.paginator('event', ?)", per_page]))
end
# [end]

# [split]
def export(handle)
  Event.transaction(isolation: :repeatable_read) do
    snapshot = Event.connection.select_value('SELECT quote_literal(pg_export_snapshot())')
    predicates = Event.connection.select_values("SELECT predicate FROM chunked.split('event', 4, alias => 'event')")
    predicates.map do |predicate|
      Thread.new do
        Event.connection_pool.with_connection do
          Event.transaction(isolation: :repeatable_read) do
            Event.connection.execute("SET TRANSACTION SNAPSHOT #{snapshot}")
            handle.(Event.where(predicate))
          end
        end
      end
    end.each(&:join)
  end
end
# [end]

# [backfill]
def backfill
  Event.connection.client_min_messages = 'notice'       # Rails asks for warnings only
  Event.connection.raw_connection.set_notice_processor { |notice| puts notice }
  Event.connection.execute("CALL chunked.run('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')")
end
# [end]

# [worker]
def work(job, handle)
  loop do
    chunk = Event.connection.select_one(Event.sanitize_sql_array(
      ['SELECT number, fence, predicate, state FROM chunked.claim_chunk(?)', job]))
    case chunk['state']
    when 'wait' then sleep 1
    when 'claimed'
      handle.(Event.where(chunk['predicate']).order(:id))
      Event.connection.execute(Event.sanitize_sql_array(
        ['SELECT chunked.complete_chunk(?, ?, ?)', job, chunk['number'], chunk['fence']]))
    else return chunk['state']
    end
  end
end
# [end]

# Their checks

def expect(what, got, expected)
  return if got == expected
  puts "#{what}: #{got.inspect[0, 200]}, not #{expected.inspect[0, 200]}"
  exit 1
end

def check
  count = Event.count
  everything = (1..count).to_a
  seen = []
  collect = ->(events) { seen.concat(events.map(&:id)) }

  walk(->(event) { seen << event.id })
  expect('walk', seen, everything)
  file = File.join(Dir.mktmpdir, 'position')
  seen.clear
  begin
    resume(file, ->(events) { seen.size < count / 2 ? collect.(events) : raise(StopIteration.new('stopped')) })
  rescue StopIteration
    nil
  end
  Event.connection.reconnect!
  resume(file, collect)
  FileUtils.rm_r(File.dirname(file))
  expect('resume', seen, everything)
  expect('last page', last_page.map(&:id), everything.last(1000))
  expect('backwards', last_page(id: 1501).map(&:id), (501..1500).to_a)

  pages = []
  other_walks("event 5' OR true --", ->(events) { pages << events.to_a })
  rows = pages.flatten
  some = everything.select { |id| id % 10 == 7 && "event #{id}" > "event 5' OR true --" }
  orders = (1..count / 10).select { |id| id * 2 % 10 == 8 }
  expect('other walks', rows.map(&:id), some + everything.reverse * 2 + everything + orders)
  expect('relations', rows[some.size + 2 * count, count].sum { |event| event.orders.size }, count / 10)
  expect('pages', page(page_count).map(&:id), everything.last(100))

  seen.clear
  lock = Mutex.new
  export(lambda do |events|
    lock.synchronize { PG.connect.exec('UPDATE event SET kind = kind + 10').clear }     # nobody may see that
    expect('snapshot', events.map(&:kind).max, 9)
    collect.(events)
  end)
  expect('split', seen.sort, everything)
  printed = $stdout = StringIO.new
  backfill
  $stdout = STDOUT
  expect('progress', printed.string.match?(/\d%.* #{count} rows in /m), true)
  expect('backfill', Event.where("name LIKE 'EVENT %'").count, count)
  seen.clear
  expect('worker', work(Event.connection.select_value("SELECT chunked.create_job('event')"), collect), 'done')
  expect('its rows', seen, everything)
end

# What stacks.py measures

def bench(way)
  Event.columns
  Event.connection.execute('SELECT 1')
  puts "ready Rails #{ActiveRecord::VERSION::STRING}"
  $stdout.flush
  $stdin.gets
  done = 0
  handle = lambda do |_event|
    if done.zero?
      puts 'first'
      $stdout.flush
    end
    done += 1
  end
  case way
  when 'ours' then walk(handle)
  when 'stream' then Event.find_each(&handle)
  else Event.order(:id).to_a.each(&handle)
  end
  puts "done #{done}"
  $stdout.flush
  $stdin.gets
end

ARGV[0] == 'check' ? check : bench(ARGV[1])
