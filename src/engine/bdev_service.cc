// mayastor.v1.BdevRpc (shared reference: grpc-v1.md section 6).
#include <bdev.grpc.pb.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/services.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;

class BdevService final : public api::BdevRpc::CallbackService {
 public:
  explicit BdevService(Engine& engine) : engine_(engine) {}

  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext* context, const api::CreateBdevRequest* request,
                                   api::CreateBdevResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "bdev create",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              auto device = co_await engine_.registry().create(request->uri());
                              if (!device) co_return fail(std::move(device.error()));
                              fill(**device, *response->mutable_bdev());
                              co_return Result<>{};
                            });
  }

  grpc::ServerUnaryReactor* Destroy(grpc::CallbackServerContext* context, const api::DestroyBdevRequest* request,
                                    google::protobuf::Empty*) override {
    return UnaryCall::start(context, engine_.primary(), "bdev destroy", [this, request]() -> runtime::Task<Result<>> {
      // An export ends with its device; a URI that does not parse is refused by destroy().
      if (auto name = engine_.registry().device_name(request->uri()); name && !is_alias_scheme(request->uri())) {
        co_await engine_.shares().unshare(*name);
      }
      co_return co_await engine_.registry().destroy(request->uri());
    });
  }

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const api::ListBdevOptions* request,
                                 api::ListBdevResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "bdev list",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              for (const auto& device : engine_.registry().list()) {
                                if (!request->has_name() || request->name().value() == device->name())
                                  fill(*device, *response->add_bdevs());
                              }
                              co_return Result<>{};
                            });
  }

  grpc::ServerUnaryReactor* Share(grpc::CallbackServerContext* context, const api::BdevShareRequest* request,
                                  api::BdevShareResponse* response) override {
    return UnaryCall::start(
        context, engine_.primary(), "bdev share", [this, request, response]() -> runtime::Task<Result<>> {
          if (request->protocol() != api::NVMF) {
            co_return fail(Code::kInvalidArgument, fmt::format("share protocol {} is not supported: only NVMF (1) is",
                                                               static_cast<int>(request->protocol())));
          }
          auto device = engine_.registry().find(request->name());
          if (device == nullptr)
            co_return fail(Code::kNotFound, fmt::format("BDEV '{}' could not be found", request->name()));
          const std::vector<std::string> hosts(request->allowed_hosts().begin(), request->allowed_hosts().end());
          const auto nexus = engine_.nexuses().find(device->name());
          auto shared = nexus != nullptr ? co_await engine_.shares().share_nexus(nexus, hosts)
                                         : co_await engine_.shares().share(device, hosts);
          if (!shared) co_return fail(std::move(shared.error()));
          fill(*device, *response->mutable_bdev());
          co_return Result<>{};
        });
  }

  grpc::ServerUnaryReactor* Unshare(grpc::CallbackServerContext* context, const api::BdevUnshareRequest* request,
                                    google::protobuf::Empty*) override {
    return UnaryCall::start(context, engine_.primary(), "bdev unshare", [this, request]() -> runtime::Task<Result<>> {
      std::string name = request->name();
      if (auto device = engine_.registry().find(name); device != nullptr) name = device->name();
      if (auto nexus = engine_.nexuses().find(name); nexus != nullptr) {
        co_await engine_.shares().unshare_nexus(std::move(nexus));
      } else {
        co_await engine_.shares().unshare(std::move(name));
      }
      co_return Result<>{};
    });
  }

 private:
  // bdev:// and loopback:// only name a device: destroying them leaves it as it is.
  static bool is_alias_scheme(const std::string& uri) {
    return uri.starts_with("bdev:") || uri.starts_with("loopback:");
  }

  void fill(const block::Device& device, api::Bdev& out) {
    out.set_name(device.name());
    out.set_uuid(device.uuid().to_string());
    out.set_num_blocks(device.num_blocks());
    out.set_blk_size(device.block_size());
    out.set_claimed(device.claimed_by().has_value());
    out.set_claimed_by(device.claimed_by().value_or("Orphaned"));
    out.set_aliases(fmt::format("{}", fmt::join(device.aliases(), ",")));
    // A device that no URI describes (made by something else than a URI) has none to show.
    out.set_uri(engine_.registry().device_uri(device).value_or(""));
    out.set_product_name(device.product_name());
    out.set_share_uri(engine_.shares().share_uri(device));
  }

  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_bdev_service(Engine& engine) {
  return std::make_unique<BdevService>(engine);
}

}  // namespace cairn::engine
