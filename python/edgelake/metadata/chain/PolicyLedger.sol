// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Policies of a network of data nodes: every account may add, an account changes and removes what it added.
/// After a change of this file: make contract. Source: spec metadata, section 12.
contract PolicyLedger {
    struct Entry {
        address owner;
        uint64 place; // in the lists, counted from 1: 0 = no such policy
    }

    /// Tells this contract, with its events and its pages, from others that have only the functions of the lists.
    uint256 public constant ledger_version = 1;

    address public immutable deployer;
    uint256 public transaction_count;
    string[] public policies;
    string[] public policy_ids;
    mapping(bytes32 => Entry) private entries; // by hash of the id

    event PolicyInserted(string id, string json, address owner);
    event PolicyUpdated(string id, string json);
    event PolicyDeleted(string id, bool deleted);
    event PolicyRead(string json);
    event PolicyOwnerRead(address owner);

    constructor() {
        deployer = msg.sender;
    }

    function insert(string calldata id, string calldata json) external {
        require(bytes(id).length != 0, "a policy needs an id");
        Entry storage entry = entries[keccak256(bytes(id))];
        require(entry.place == 0, "policy id exists");
        policies.push(json);
        policy_ids.push(id);
        entry.owner = msg.sender;
        entry.place = uint64(policies.length);
        transaction_count++;
        emit PolicyInserted(id, json, msg.sender);
    }

    function updatePolicy(string calldata id, string calldata json) external {
        Entry storage entry = known(id);
        require(entry.owner == msg.sender, "not the owner of the policy");
        policies[entry.place - 1] = json;
        transaction_count++;
        emit PolicyUpdated(id, json);
    }

    /// The last policy takes the place of the one that goes. The deployer may remove what others added.
    function deletePolicy(string calldata id) external {
        Entry storage entry = known(id);
        require(entry.owner == msg.sender || deployer == msg.sender, "not the owner of the policy");
        uint64 place = entry.place;
        uint256 last = policies.length;
        if (place != last) {
            policies[place - 1] = policies[last - 1];
            policy_ids[place - 1] = policy_ids[last - 1];
            entries[keccak256(bytes(policy_ids[place - 1]))].place = place;
        }
        policies.pop();
        policy_ids.pop();
        delete entries[keccak256(bytes(id))];
        transaction_count++;
        emit PolicyDeleted(id, true);
    }

    function getPolicy(string calldata id) external returns (string memory json) {
        json = policies[known(id).place - 1];
        emit PolicyRead(json);
    }

    function getPolicyOwner(string calldata id) external returns (address owner) {
        owner = known(id).owner;
        emit PolicyOwnerRead(owner);
    }

    function num_policies() external view returns (uint256) {
        return policies.length;
    }

    /// Up to `count` policies from place `first` (from 0) on, so that a reader needs few calls.
    function page(uint256 first, uint256 count)
        external
        view
        returns (string[] memory ids, string[] memory jsons, address[] memory owners)
    {
        uint256 end = first + count < policies.length ? first + count : policies.length;
        uint256 size = end > first ? end - first : 0;
        ids = new string[](size);
        jsons = new string[](size);
        owners = new address[](size);
        for (uint256 i = 0; i < size; i++) {
            ids[i] = policy_ids[first + i];
            jsons[i] = policies[first + i];
            owners[i] = entries[keccak256(bytes(ids[i]))].owner;
        }
    }

    function known(string calldata id) private view returns (Entry storage entry) {
        entry = entries[keccak256(bytes(id))];
        require(entry.place != 0, "policy id unknown");
    }
}
