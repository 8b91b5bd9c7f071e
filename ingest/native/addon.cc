// What ingest needs of librdkafka and node-rdkafka does not give: many messages as one packed buffer, without
// a JavaScript object each, and the ids of the cluster and its topics.
//
// It stands beside an unpatched node-rdkafka and borrows the librdkafka handle of its consumer, under
// node-rdkafka's own lock, so that a disconnect waits for us. Compiled against the headers of the installed
// version, which is checked again when it is loaded (addon.ts).
#include <nan.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kafka-consumer.h"

namespace {

// Reaches the protected members of node-rdkafka's consumer: a pointer to member, no cast of layouts.
struct Borrowed : NodeKafka::KafkaConsumer {
  static RdKafka::Handle* Handle(NodeKafka::KafkaConsumer* consumer) { return consumer->*(&Borrowed::m_client); }
  static uv_rwlock_t* Lock(NodeKafka::KafkaConsumer* consumer) { return &(consumer->*(&Borrowed::m_connection_lock)); }
};

// Holds node-rdkafka's connection lock for reading: the handle stays alive as long as this does.
class HandleGuard {
 public:
  explicit HandleGuard(NodeKafka::KafkaConsumer* consumer) : lock_(Borrowed::Lock(consumer)) {
    uv_rwlock_rdlock(lock_);
    RdKafka::Handle* handle = Borrowed::Handle(consumer);
    rk_ = handle == nullptr ? nullptr : handle->c_ptr();
  }
  ~HandleGuard() { uv_rwlock_rdunlock(lock_); }
  HandleGuard(const HandleGuard&) = delete;
  HandleGuard& operator=(const HandleGuard&) = delete;
  rd_kafka_t* get() const { return rk_; }

 private:
  uv_rwlock_t* lock_;
  rd_kafka_t* rk_;
};

// Work on a thread of libuv that keeps the JavaScript consumer object alive until it is done.
class ConsumerWork : public Nan::AsyncWorker {
 public:
  ConsumerWork(v8::Local<v8::Object> consumer, v8::Local<v8::Function> callback)
      : Nan::AsyncWorker(new Nan::Callback(callback), "cdrhouse:native"),
        consumer_(Nan::ObjectWrap::Unwrap<NodeKafka::KafkaConsumer>(consumer)) {
    SaveToPersistent("consumer", consumer);
  }

 protected:
  NodeKafka::KafkaConsumer* consumer_;
};

template <class T>
v8::Local<v8::ArrayBuffer> Moved(std::vector<T>&& values) {
  v8::Isolate* isolate = v8::Isolate::GetCurrent();
  if (values.empty()) return v8::ArrayBuffer::New(isolate, 0);
  auto* owned = new std::vector<T>(std::move(values));
  auto store = v8::ArrayBuffer::NewBackingStore(
      owned->data(), owned->size() * sizeof(T),
      [](void*, size_t, void* vector) { delete static_cast<std::vector<T>*>(vector); }, owned);
  return v8::ArrayBuffer::New(isolate, std::move(store));
}

void Set(v8::Local<v8::Object> object, const char* name, v8::Local<v8::Value> value) {
  Nan::Set(object, Nan::New(name).ToLocalChecked(), value);
}

v8::Local<v8::Array> Strings(const std::vector<std::string>& texts) {
  v8::Local<v8::Array> array = Nan::New<v8::Array>(static_cast<int>(texts.size()));
  for (size_t i = 0; i < texts.size(); i++) Nan::Set(array, i, Nan::New(texts[i]).ToLocalChecked());
  return array;
}

// An error or an end of partition that came between the messages.
struct Event {
  int code;
  std::string reason;
  uint16_t topic;
  int32_t partition;
  double offset;
};

// Memory of JavaScript's that messages are written into, poll after poll: typed arrays of an object, see addon.ts.
struct Room {
  explicit Room(v8::Local<v8::Object> object)
      : bytes(Pointer<char>(object, "bytes", &bytes_room)),
        ends(Pointer<uint32_t>(object, "ends", &messages_room)),
        topic_of(Pointer<uint16_t>(object, "topicOf", nullptr)),
        partitions(Pointer<int32_t>(object, "partitions", nullptr)),
        offsets(Pointer<double>(object, "offsets", nullptr)),
        timestamps(Pointer<double>(object, "timestamps", nullptr)),
        tombstones(Pointer<uint8_t>(object, "tombstones", nullptr)) {}

  template <class T>
  static T* Pointer(v8::Local<v8::Object> object, const char* name, size_t* length) {
    v8::Local<v8::TypedArray> array =
        Nan::Get(object, Nan::New(name).ToLocalChecked()).ToLocalChecked().As<v8::TypedArray>();
    if (length != nullptr) *length = array->Length();
    return reinterpret_cast<T*>(static_cast<char*>(array->Buffer()->Data()) + array->ByteOffset());
  }

  size_t bytes_room = 0;
  size_t messages_room = 0;
  char* bytes;
  uint32_t* ends;
  uint16_t* topic_of;
  int32_t* partitions;
  double* offsets;
  double* timestamps;
  uint8_t* tombstones;
};

class ConsumeWork : public ConsumerWork {
 public:
  ConsumeWork(v8::Local<v8::Object> consumer, v8::Local<v8::Object> room, size_t messages_max, size_t bytes_max,
              int timeout_ms, v8::Local<v8::Function> callback)
      : ConsumerWork(consumer, callback),
        room_(room),
        messages_max_(std::min(messages_max, room_.messages_room)),
        bytes_max_(std::min(bytes_max, room_.bytes_room)),
        timeout_ms_(timeout_ms) {
    SaveToPersistent("room", room);
  }

  void Execute() override {
    HandleGuard handle(consumer_);
    if (handle.get() == nullptr) {
      SetErrorMessage("not connected");
      return;
    }
    const uint64_t deadline = uv_hrtime() + static_cast<uint64_t>(timeout_ms_) * 1000000;
    while (count_ < messages_max_ && bytes_ < bytes_max_) {
      const uint64_t now = uv_hrtime();
      // Past the deadline only what is there already is taken, so that a slow trickle does not hold a batch.
      const int wait_ms = now >= deadline ? 0 : static_cast<int>((deadline - now) / 1000000);
      rd_kafka_message_t* message = rd_kafka_consumer_poll(handle.get(), wait_ms);
      if (message == nullptr) break;
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) Take(message);
      else Note(message);
      rd_kafka_message_destroy(message);
      if (events_.size() >= 1024 || !large_.empty()) break;
    }
  }

  void HandleOKCallback() override {
    Nan::HandleScope scope;
    v8::Local<v8::Object> polled = Nan::New<v8::Object>();
    Set(polled, "count", Nan::New(static_cast<uint32_t>(count_)));
    Set(polled, "bytes", Nan::New(static_cast<double>(bytes_)));
    const size_t large = large_.size();
    Set(polled, "large", v8::Uint8Array::New(Moved(std::move(large_)), 0, large));
    Set(polled, "topics", Strings(topics_));
    v8::Local<v8::Array> ends_of_partitions = Nan::New<v8::Array>();
    v8::Local<v8::Array> errors = Nan::New<v8::Array>();
    for (const Event& event : events_) {
      v8::Local<v8::Object> object = Nan::New<v8::Object>();
      Set(object, "topic", Nan::New(topics_[event.topic]).ToLocalChecked());
      Set(object, "partition", Nan::New(event.partition));
      if (event.code == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        Set(object, "offset", Nan::New(event.offset));
        Nan::Set(ends_of_partitions, ends_of_partitions->Length(), object);
      } else {
        Set(object, "code", Nan::New(event.code));
        Set(object, "reason", Nan::New(event.reason).ToLocalChecked());
        Nan::Set(errors, errors->Length(), object);
      }
    }
    Set(polled, "partitionEnds", ends_of_partitions);
    Set(polled, "errors", errors);
    v8::Local<v8::Value> arguments[] = {Nan::Null(), polled};
    callback->Call(2, arguments, async_resource);
  }

 private:
  void Take(const rd_kafka_message_t* message) {
    const char* payload = static_cast<const char*>(message->payload);
    const size_t length = payload == nullptr ? 0 : message->len;
    // One that does not fit is handed over apart, and ends the poll.
    if (length > room_.bytes_room - bytes_) large_.assign(payload, payload + length);
    else if (length > 0) std::memcpy(room_.bytes + bytes_, payload, length);
    const size_t end = bytes_ + length;
    if (large_.empty()) bytes_ = end;
    room_.ends[count_] = static_cast<uint32_t>(end);
    room_.tombstones[count_] = payload == nullptr ? 1 : 0;
    room_.topic_of[count_] = TopicIndex(message->rkt);
    room_.partitions[count_] = message->partition;
    room_.offsets[count_] = static_cast<double>(message->offset);
    rd_kafka_timestamp_type_t type;
    const int64_t timestamp = rd_kafka_message_timestamp(message, &type);
    room_.timestamps[count_] = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : static_cast<double>(timestamp);
    count_++;
  }

  void Note(const rd_kafka_message_t* message) {
    events_.push_back({message->err, rd_kafka_message_errstr(message), TopicIndex(message->rkt), message->partition,
                       static_cast<double>(message->offset)});
  }

  uint16_t TopicIndex(rd_kafka_topic_t* rkt) {
    if (rkt == last_topic_ && !topics_.empty()) return last_index_;
    const std::string name = rkt == nullptr ? "" : rd_kafka_topic_name(rkt);
    size_t index = 0;
    while (index < topics_.size() && topics_[index] != name) index++;
    if (index == topics_.size()) topics_.push_back(name);
    last_topic_ = rkt;
    last_index_ = static_cast<uint16_t>(index);
    return last_index_;
  }

  const Room room_;
  const size_t messages_max_;
  const size_t bytes_max_;
  const int timeout_ms_;
  size_t count_ = 0;
  size_t bytes_ = 0;
  std::vector<char> large_;
  std::vector<std::string> topics_;
  std::vector<Event> events_;
  rd_kafka_topic_t* last_topic_ = nullptr;
  uint16_t last_index_ = 0;
};

class ClusterIdWork : public ConsumerWork {
 public:
  ClusterIdWork(v8::Local<v8::Object> consumer, int timeout_ms, v8::Local<v8::Function> callback)
      : ConsumerWork(consumer, callback), timeout_ms_(timeout_ms) {}

  void Execute() override {
    HandleGuard handle(consumer_);
    char* id = handle.get() == nullptr ? nullptr : rd_kafka_clusterid(handle.get(), timeout_ms_);
    if (id == nullptr) {
      SetErrorMessage("the cluster id could not be fetched");
      return;
    }
    id_ = id;
    rd_kafka_mem_free(handle.get(), id);
  }

  void HandleOKCallback() override {
    Nan::HandleScope scope;
    v8::Local<v8::Value> arguments[] = {Nan::Null(), Nan::New(id_).ToLocalChecked()};
    callback->Call(2, arguments, async_resource);
  }

 private:
  const int timeout_ms_;
  std::string id_;
};

// A question to the cluster that librdkafka answers with an event on a queue.
class DescribeWork : public ConsumerWork {
 public:
  DescribeWork(v8::Local<v8::Object> consumer, rd_kafka_admin_op_t operation, int timeout_ms,
               v8::Local<v8::Function> callback)
      : ConsumerWork(consumer, callback), operation_(operation), timeout_ms_(timeout_ms) {}

  void Execute() override {
    HandleGuard handle(consumer_);
    if (handle.get() == nullptr) {
      SetErrorMessage("not connected");
      return;
    }
    rd_kafka_queue_t* queue = rd_kafka_queue_new(handle.get());
    rd_kafka_AdminOptions_t* options = rd_kafka_AdminOptions_new(handle.get(), operation_);
    char reason[256];
    rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms_, reason, sizeof(reason));
    Ask(handle.get(), options, queue);
    rd_kafka_event_t* event = rd_kafka_queue_poll(queue, timeout_ms_ + 1000);
    if (event == nullptr) {
      SetErrorMessage("no answer in time");
    } else if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      SetErrorMessage(rd_kafka_event_error_string(event));
    } else {
      Read(event);
    }
    if (event != nullptr) rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
  }

  void HandleOKCallback() override {
    Nan::HandleScope scope;
    v8::Local<v8::Value> arguments[] = {Nan::Null(), Result()};
    callback->Call(2, arguments, async_resource);
  }

 protected:
  virtual void Ask(rd_kafka_t* rk, const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) = 0;
  // Reads an answer without an error of its own; those of its members are set as this work's.
  virtual void Read(rd_kafka_event_t* event) = 0;
  virtual v8::Local<v8::Value> Result() = 0;

  // True where this member of an answer has an error, which becomes that of the work, unless it is the harmless one.
  bool Failed(const rd_kafka_error_t* error, rd_kafka_resp_err_t harmless) {
    if (error == nullptr || rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR_NO_ERROR) return false;
    if (rd_kafka_error_code(error) != harmless) SetErrorMessage(rd_kafka_error_string(error));
    return true;
  }

 private:
  const rd_kafka_admin_op_t operation_;
  const int timeout_ms_;
};

// Ids of topics as base64 UUIDs, in the order asked; empty for a topic that does not exist.
class TopicIdsWork : public DescribeWork {
 public:
  TopicIdsWork(v8::Local<v8::Object> consumer, std::vector<std::string> topics, int timeout_ms,
               v8::Local<v8::Function> callback)
      : DescribeWork(consumer, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout_ms, callback), topics_(std::move(topics)) {}

 protected:
  void Ask(rd_kafka_t* rk, const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) override {
    std::vector<const char*> names;
    for (const std::string& topic : topics_) names.push_back(topic.c_str());
    rd_kafka_TopicCollection_t* collection = rd_kafka_TopicCollection_of_topic_names(names.data(), names.size());
    rd_kafka_DescribeTopics(rk, collection, options, queue);
    rd_kafka_TopicCollection_destroy(collection);
  }

  void Read(rd_kafka_event_t* event) override {
    size_t count = 0;
    const rd_kafka_TopicDescription_t** described =
        rd_kafka_DescribeTopics_result_topics(rd_kafka_event_DescribeTopics_result(event), &count);
    ids_.assign(topics_.size(), "");
    for (size_t i = 0; i < count; i++) {
      if (Failed(rd_kafka_TopicDescription_error(described[i]), RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)) continue;
      for (size_t topic = 0; topic < topics_.size(); topic++) {
        if (topics_[topic] != rd_kafka_TopicDescription_name(described[i])) continue;
        ids_[topic] = rd_kafka_Uuid_base64str(rd_kafka_TopicDescription_topic_id(described[i]));
      }
    }
  }

  v8::Local<v8::Value> Result() override { return Strings(ids_); }

 private:
  const std::vector<std::string> topics_;
  std::vector<std::string> ids_;
};

// How many members a consumer group has, static ones that are away included; none where it does not exist. And, while
// no rebalance is under way, the partitions that it has assigned.
class GroupWork : public DescribeWork {
 public:
  GroupWork(v8::Local<v8::Object> consumer, std::string group, int timeout_ms, v8::Local<v8::Function> callback)
      : DescribeWork(consumer, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, timeout_ms, callback),
        group_(std::move(group)) {}

 protected:
  void Ask(rd_kafka_t* rk, const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) override {
    const char* groups[] = {group_.c_str()};
    rd_kafka_DescribeConsumerGroups(rk, groups, 1, options, queue);
  }

  void Read(rd_kafka_event_t* event) override {
    size_t count = 0;
    const rd_kafka_ConsumerGroupDescription_t** described = rd_kafka_DescribeConsumerGroups_result_groups(
        rd_kafka_event_DescribeConsumerGroups_result(event), &count);
    for (size_t i = 0; i < count; i++) {
      if (Failed(rd_kafka_ConsumerGroupDescription_error(described[i]), RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND)) continue;
      members_ += rd_kafka_ConsumerGroupDescription_member_count(described[i]);
      stable_ = rd_kafka_ConsumerGroupDescription_state(described[i]) == RD_KAFKA_CONSUMER_GROUP_STATE_STABLE;
      for (size_t member = 0; stable_ && member < members_; member++) {
        const rd_kafka_topic_partition_list_t* assigned =
            rd_kafka_MemberAssignment_partitions(rd_kafka_MemberDescription_assignment(
                rd_kafka_ConsumerGroupDescription_member(described[i], member)));
        for (int at = 0; assigned != nullptr && at < assigned->cnt; at++) {
          topics_.emplace_back(assigned->elems[at].topic);
          partitions_.push_back(assigned->elems[at].partition);
        }
      }
    }
  }

  v8::Local<v8::Value> Result() override {
    v8::Local<v8::Object> result = Nan::New<v8::Object>();
    Set(result, "members", Nan::New(static_cast<uint32_t>(members_)));
    if (!stable_) return result;
    v8::Local<v8::Array> assigned = Nan::New<v8::Array>(static_cast<int>(topics_.size()));
    for (size_t i = 0; i < topics_.size(); i++) {
      v8::Local<v8::Object> one = Nan::New<v8::Object>();
      Set(one, "topic", Nan::New(topics_[i]).ToLocalChecked());
      Set(one, "partition", Nan::New(partitions_[i]));
      Nan::Set(assigned, static_cast<uint32_t>(i), one);
    }
    Set(result, "assigned", assigned);
    return result;
  }

 private:
  const std::string group_;
  size_t members_ = 0;
  bool stable_ = false;
  std::vector<std::string> topics_;
  std::vector<int32_t> partitions_;
};

// consume(consumer, room, messagesMax, bytesMax, timeoutMs, callback)
NAN_METHOD(Consume) {
  Nan::AsyncQueueWorker(new ConsumeWork(info[0].As<v8::Object>(), info[1].As<v8::Object>(),
                                        Nan::To<uint32_t>(info[2]).FromJust(),
                                        static_cast<size_t>(Nan::To<double>(info[3]).FromJust()),
                                        Nan::To<int32_t>(info[4]).FromJust(), info[5].As<v8::Function>()));
}

// clusterId(consumer, timeoutMs, callback)
NAN_METHOD(ClusterId) {
  Nan::AsyncQueueWorker(
      new ClusterIdWork(info[0].As<v8::Object>(), Nan::To<int32_t>(info[1]).FromJust(), info[2].As<v8::Function>()));
}

// topicIds(consumer, topics, timeoutMs, callback)
NAN_METHOD(TopicIds) {
  v8::Local<v8::Array> names = info[1].As<v8::Array>();
  std::vector<std::string> topics;
  for (uint32_t i = 0; i < names->Length(); i++) topics.push_back(*Nan::Utf8String(Nan::Get(names, i).ToLocalChecked()));
  Nan::AsyncQueueWorker(new TopicIdsWork(info[0].As<v8::Object>(), std::move(topics),
                                         Nan::To<int32_t>(info[2]).FromJust(), info[3].As<v8::Function>()));
}

// describeGroup(consumer, group, timeoutMs, callback)
NAN_METHOD(DescribeGroup) {
  Nan::AsyncQueueWorker(new GroupWork(info[0].As<v8::Object>(), *Nan::Utf8String(info[1]),
                                             Nan::To<int32_t>(info[2]).FromJust(), info[3].As<v8::Function>()));
}

NAN_MODULE_INIT(Init) {
  Nan::SetMethod(target, "consume", Consume);
  Nan::SetMethod(target, "clusterId", ClusterId);
  Nan::SetMethod(target, "topicIds", TopicIds);
  Nan::SetMethod(target, "describeGroup", DescribeGroup);
  Set(target, "nodeRdkafkaVersion", Nan::New(NODE_RDKAFKA_VERSION).ToLocalChecked());
}

NODE_MODULE(cdrhouse_native, Init)

}  // namespace
